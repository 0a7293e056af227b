"""HEALPix maps of the whole sky."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from villard.exceptions import DataError, FileFormatError
from villard.maps import HpxGeom, HpxNDMap, Map, MapAxis, WcsGeom

pytest.importorskip("astropy_healpix", reason="needs the package astropy-healpix")

ENERGY = MapAxis.from_energy_bounds("10 GeV", "1 TeV", nbin=2)
POINTS = MapAxis.from_nodes([1e3, 1e4, 1e5], name="energy_true", unit="MeV", interp="log")


def hdulist(axis=POINTS, nside=4, name="ENERGIES", **keywords):
    columns = [fits.Column(f"ENERGY{i + 1}", "D", array=np.full(12 * nside**2, 10.0**i)) for i in range(3)]
    table = fits.BinTableHDU.from_columns(columns, name="HPXEXPOSURES")
    table.header.update({"PIXTYPE": "HEALPIX", "NSIDE": nside, "ORDERING": "RING"} | keywords)
    energies = fits.Column("Energy", "D", array=axis.center.to_value("MeV"))
    return fits.HDUList([fits.PrimaryHDU(), table, fits.BinTableHDU.from_columns([energies], name=name)])


@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_geometry(nest, frame):
    geom = HpxGeom(8, nest=nest, frame=frame, axes=[ENERGY])
    assert geom.data_shape == (2, 768)
    assert_allclose(geom.solid_angle().value * geom.npix, 4 * np.pi)
    assert_array_equal(geom.skydir_to_idx(geom.skydirs()), np.arange(768))
    # Equal areas: the mean direction is none.
    assert_allclose(geom.skydirs().cartesian.xyz.value.mean(axis=1), 0, atol=1e-12)
    assert geom == HpxGeom(8, nest=nest, frame=frame, axes=[ENERGY])
    assert geom != HpxGeom(8, nest=not nest, frame=frame, axes=[ENERGY])
    assert geom.to_image().data_shape == (768,)
    coords = {"skycoord": geom.center_skydir, "energy": [0.001, 0.1] * u.TeV}
    assert_array_equal(geom.contains(coords), [False, True])


def test_geometry_mistakes():
    with pytest.raises(DataError, match="nside"):
        HpxGeom(3, nest=True)
    with pytest.raises(DataError, match="frame"):
        HpxGeom(4, frame="altaz")


def test_values():
    geom = HpxGeom(16, frame="galactic", axes=[POINTS])
    sky = Map.from_geom(geom, unit="cm2 s")
    assert isinstance(sky, HpxNDMap)
    sky.data += np.sin(geom.skydirs().b) * np.array([[1], [2], [3]])
    there = SkyCoord([33, 359.9], [20, -60], unit="deg", frame="galactic")
    found = sky.interp_by_coord({"skycoord": there, "energy_true": [1, 10**1.5] * u.GeV})
    assert_allclose(found, np.sin(there.b.rad) * [1, 2.5], atol=0.01)
    nearest = sky.get_by_coord({"skycoord": there.icrs, "energy_true": 10 * u.GeV})
    assert_allclose(nearest, np.sin(there.b.rad) * 2, atol=0.1)
    counts = HpxNDMap(geom)
    counts.fill_by_coord({"skycoord": there, "energy_true": [1, 1e6] * u.GeV})
    assert counts.data.sum() == 1
    assert sky.sum_over_axes(keepdims=False).data.shape == (3072,)
    target = WcsGeom.create(skydir=(0, 30), binsz=1, width=5, frame="galactic", axes=[POINTS])
    image = sky.interp_to_geom(target)
    assert image.unit == "cm2 s"
    expected = np.sin(target.skydirs().b) * np.array([1, 2, 3])[:, None, None]
    assert_allclose(image.data, expected, atol=0.03)


def test_read():
    exposure = HpxNDMap.from_hdulist(hdulist())
    assert (exposure.unit, exposure.geom.frame, exposure.geom.nside) == ("cm2 s", "icrs", 4)
    coords = {"lon": 3 * u.deg, "lat": 4 * u.deg, "energy_true": 10**0.5 * u.GeV}
    assert_allclose(exposure.interp_by_coord(coords, values_scale="log"), 10**0.5)
    assert exposure.interp_by_coord(coords | {"energy_true": 1 * u.PeV}, fill_value=-1) == -1
    assert HpxNDMap.from_hdulist(hdulist(COORDSYS="GAL")).geom.frame == "galactic"


def test_damaged():
    for keywords in ({"COORDSYS": "XYZ"}, {"ORDERING": "SPIRAL"}):
        with pytest.raises(FileFormatError, match="COORDSYS"):
            HpxNDMap.from_hdulist(hdulist(**keywords))
    with pytest.raises(FileFormatError, match="rows"):
        HpxNDMap.from_hdulist(hdulist(NSIDE=8))
    with pytest.raises(FileFormatError, match="3 columns"):
        HpxNDMap.from_hdulist(hdulist(name="OTHER"))
    with pytest.raises(FileFormatError, match="per energy"):
        HpxNDMap.from_hdulist(hdulist(axis=POINTS.slice(slice(0, 2))))
    with pytest.raises(FileFormatError, match="HEALPIX"):
        HpxNDMap.from_hdulist(fits.HDUList([fits.PrimaryHDU()]))


def test_exposure_of_3fhl(gammapy_data):
    # The same exposure in a cube around the Galactic centre, made on its own by the Fermi tools.
    sky = Map.read(gammapy_data / "fermi_3fhl/fermi_3fhl_exposure_cube_hpx.fits.gz")
    cube = Map.read(gammapy_data / "fermi-3fhl-gc/fermi-3fhl-gc-exposure-cube.fits.gz")
    found = sky.interp_to_geom(cube.geom, values_scale="log")
    ratio = found.data / cube.data
    assert_allclose(ratio, 1, rtol=0.01)
    assert_allclose(np.mean(ratio), 1, rtol=5e-4)
