"""Files of maps: those of others with their numbers, round trips, damaged ones."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from villard.exceptions import DataError, FileFormatError, OverwriteError, UnitsError
from villard.maps import Map, MapAxis, RegionNDMap, WcsNDMap

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "maps_gammapy.json").read_text())
ENERGY = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
TRUE = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3, name="energy_true")
POINTS = MapAxis.from_nodes([1, 3, 10.0], name="energy_true", unit="MeV", interp="log")
OTHER = MapAxis.from_nodes([1, 2, 3.5], name="x", unit="deg")


def example(axes=(), unit="", dtype=float, seed=0, **kwargs):
    arguments = {"skydir": (83.63, 22.01), "binsz": (0.1, 0.2), "width": (4, 3)} | kwargs
    result = Map.create(map_type="wcs", axes=list(axes), unit=unit, dtype=dtype, **arguments)
    values = np.random.default_rng(seed).uniform(0, 5, result.data.shape)
    result.data = values > 2 if dtype is bool else values.astype(dtype)
    return result


@pytest.mark.parametrize("entry", REFERENCE["files"], ids=lambda e: f"{e['file']}-{e['hdu']}")
def test_files_of_others(entry, gammapy_data):
    found = Map.read(gammapy_data / entry["file"], hdu=entry["hdu"])
    geom = found.geom
    assert isinstance(found, WcsNDMap)
    assert found.unit == u.Unit(entry["unit"])
    assert (list(found.data.shape), geom.frame) == (entry["shape"], entry["frame"])
    assert found.is_mask == entry["is_mask"]
    assert found.data.dtype.isnative
    assert_allclose(np.nansum(found.data, dtype=float), entry["sum"], rtol=1e-12)
    center = SkyCoord(*entry["center"], unit="deg", frame=geom.frame)
    assert geom.center_skydir.separation(center).deg < 1e-9
    for axis, expected in zip(geom.axes, entry["axes"], strict=True):
        for name in ("name", "node_type", "interp", "nbin"):
            assert getattr(axis, name) == expected[name]
        assert axis.unit == expected["unit"]
        assert_allclose(axis.edges.value[[0, 1, -1]], expected["edges"], rtol=1e-7)
    coords = {name: values * geom.axes[name].unit for name, values in entry["coords"].items()}
    coords["skycoord"] = SkyCoord(entry["lon"], entry["lat"], unit="deg", frame=geom.frame)
    assert_allclose(found.get_by_coord(coords), entry["nearest"], rtol=1e-12)
    if "linear" in entry:
        # The reference is linear between edges instead of centres: not the same for edges with 32 bit.
        assert_allclose(found.interp_by_coord(coords), entry["linear"], rtol=1e-7, atol=1e-12)
    if entry["solid_angle"]:
        middle = geom.solid_angle().value[geom.npix[1] // 2, geom.npix[0] // 2]
        assert_allclose(middle, entry["solid_angle"], rtol=3e-5)


def test_exposure_without_history(gammapy_data):
    # gtexpcube2 writes no unit; its axis log_Energy tells what it is.
    exposure = Map.read(gammapy_data / "tests/unbundled/fermi/fermi_exposure.fits.gz")
    assert exposure.unit == "cm2 s"
    model = Map.read(gammapy_data / "tests/unbundled/fermi/gll_iem_v02_cutout.fits")
    assert model.unit == "cm-2 s-1 MeV-1 sr-1"


def test_counts_have_no_unit(gammapy_data):
    survey = Map.read(gammapy_data / "tests/unbundled/hess/survey/hess_survey_snippet.fits.gz", hdu="ON")
    assert survey.unit == ""


def test_region_in_file_of_maps(gammapy_data):
    psf = Map.read(gammapy_data / "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", hdu="PSF")
    assert isinstance(psf, RegionNDMap)


@pytest.mark.parametrize(
    ("axes", "options", "hdu"),
    [
        ([], {"unit": "s", "dtype": int}, None),
        ([ENERGY, OTHER], {"unit": "m2 s", "dtype": "float32"}, None),
        ([TRUE], {"unit": "cm-2 s-1", "proj": "TAN", "frame": "galactic"}, "FLUX"),
        ([ENERGY, TRUE], {"unit": "sr-1", "proj": "AIT"}, "EDISP"),
        ([ENERGY], {"dtype": bool}, "mask_safe"),
        ([ENERGY], {"dtype": bool}, None),
        ([POINTS], {"unit": "m2 s", "frame": "galactic", "skydir": (0, 0)}, None),
    ],
)
def test_round_trip(axes, options, hdu, tmp_path):
    original = example(axes, **options)
    original.meta = {"name": "test", "numbers": [1, 2]}
    original.write(tmp_path / "map.fits.gz", hdu=hdu)
    read = Map.read(tmp_path / "map.fits.gz")
    assert read.geom == original.geom
    assert read.geom.axes == original.geom.axes
    assert (read.unit, read.data.dtype, read.meta) == (original.unit, original.data.dtype, original.meta)
    assert_array_equal(read.data, original.data)
    with pytest.raises(OverwriteError):
        original.write(tmp_path / "map.fits.gz")


@pytest.mark.parametrize(
    ("format", "axis", "unit", "bands"),
    [
        ("fgst-ccube", ENERGY, "", "EBOUNDS"),
        ("fgst-template", POINTS, "cm-2 s-1 MeV-1 sr-1", "ENERGIES"),
        ("fgst-bexpcube", POINTS, "cm2 s", "ENERGIES"),
    ],
)
def test_round_trip_fermi(format, axis, unit, bands, tmp_path):
    original = example([axis], unit=unit)
    hdulist = original.to_hdulist(format=format)
    assert [hdu.name for hdu in hdulist] == ["PRIMARY", bands]
    original.write(tmp_path / "cube.fits", format=format)
    # Neither needs to be told, nor has a unit in the files of the Fermi tools.
    assert Map.read(tmp_path / "cube.fits").is_allclose(original)
    del hdulist[0].header["BUNIT"]
    assert WcsNDMap.from_hdulist(hdulist).is_allclose(original)
    with pytest.raises(DataError, match=format):
        example([axis], unit="TeV").to_hdulist(format=format)
    with pytest.raises(DataError, match="energy"):
        example([OTHER], unit=unit).to_hdulist(format=format)


def test_several_in_one_file(tmp_path):
    maps = {"COUNTS": example([ENERGY], dtype=int), "EXPOSURE": example([TRUE], unit="cm2 s", seed=1)}
    hdulist = fits.HDUList([fits.PrimaryHDU()])
    for name, item in maps.items():
        hdulist += item.to_hdulist(hdu=name)[1:]
    hdulist.writeto(tmp_path / "dataset.fits")
    for name, item in maps.items():
        assert Map.read(tmp_path / "dataset.fits", hdu=name.lower()).is_allclose(item)
    assert Map.read(tmp_path / "dataset.fits").is_allclose(maps["COUNTS"])


class TestDamaged:
    def read(self, hdulist):
        return WcsNDMap.from_hdulist(hdulist, where="broken.fits")

    def test_no_table_of_axes(self):
        hdulist = example([ENERGY, OTHER]).to_hdulist()
        with pytest.raises(FileFormatError, match=r"broken\.fits.*PRIMARY_BANDS"):
            self.read(hdulist[:1])
        del hdulist[0].header["BANDSHDU"]
        with pytest.raises(FileFormatError, match="BANDSHDU"):
            self.read(hdulist[:1])

    def test_axis_of_other_length(self):
        hdulist = example([ENERGY]).to_hdulist()
        hdulist[1] = example([ENERGY.upsample(2)]).to_hdulist()[1]
        with pytest.raises(FileFormatError, match=r"\(4, 15, 40\).*found \(2, 15, 40\)"):
            self.read(hdulist)

    def test_energies_that_decrease(self):
        hdulist = example([POINTS], unit="cm2 s").to_hdulist(format="fgst-bexpcube")
        hdulist[1].data["Energy"] = [3, 2, 1]
        with pytest.raises(FileFormatError, match="ENERGIES"):
            self.read(hdulist)

    def test_unit(self):
        hdulist = example().to_hdulist()
        hdulist[0].header["BUNIT"] = "furlong"
        with pytest.raises(FileFormatError, match=r"BUNIT.*furlong"):
            self.read(hdulist)

    def test_coordinates(self):
        hdulist = example().to_hdulist()
        hdulist[0].header["CTYPE1"] = "X"
        hdulist[0].header["CTYPE2"] = "Y"
        with pytest.raises(FileFormatError, match="CTYPE X, Y"):
            self.read(hdulist)

    def test_no_image(self, tmp_path):
        fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "empty.fits")
        with pytest.raises(FileFormatError, match="expected"):
            Map.read(tmp_path / "empty.fits")
        with pytest.raises(FileFormatError, match="extension COUNTS"):
            Map.read(tmp_path / "empty.fits", hdu="COUNTS")
        with pytest.raises(FileFormatError, match="image"):
            self.read(fits.HDUList([fits.PrimaryHDU()]))

    def test_unknown_format(self):
        with pytest.raises(DataError, match="format"):
            example().to_hdulist(format="png")

    def test_meta(self):
        original = example()
        original.meta = {"object": object()}
        with pytest.raises(DataError, match="JSON"):
            original.to_hdulist()
        hdulist = example().to_hdulist()
        hdulist[0].header["META"] = "no {json"
        assert self.read(hdulist).meta == {"META": "no {json"}


def test_unit_of_axis():
    with pytest.raises(UnitsError):
        example([ENERGY]).get_by_coord({"lon": 83 * u.deg, "lat": 22 * u.deg, "energy": 3 * u.m})
