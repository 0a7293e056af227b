"""HEALPix cubes as inputs."""

import copy

import numpy as np
import pytest
import region_toys as toys
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from villard.exceptions import ConfigError
from villard.irf import PSFMap
from villard.maps import HpxGeom, MapAxis
from villard.roi import ROI
from villard.roi.healpix import widened_psf

NSIDE = 512


def write_healpix(path, seed=0):
    """Write the pixels around the centre: a point source on a flat background."""
    geom = HpxGeom(NSIDE, frame="galactic")
    lon, lat = np.meshgrid(np.arange(-1.8, 1.8, 0.02), np.arange(-1.8, 1.8, 0.02))
    near = np.unique(geom.skydir_to_idx(SkyCoord(lon, lat, unit="deg", frame="galactic")))
    lon, lat = geom._healpix.healpix_to_lonlat(near)
    offset = SkyCoord(lon, lat, frame="galactic").separation(SkyCoord("0.2d 0.1d", frame="galactic")).deg
    size = np.degrees(np.sqrt(geom.solid_angle().value))
    psf = np.exp(-0.5 * (offset / 0.15) ** 2) / (2 * np.pi * 0.15**2) * size**2
    rng = np.random.default_rng(seed)
    columns = {"PIX": near} | {f"CHANNEL{i + 1}": rng.poisson(2.0 + 2000 * psf) for i in range(3)}
    table = fits.table_to_hdu(Table(columns))
    table.name = "SKYMAP"
    header = {"PIXTYPE": "HEALPIX", "ORDERING": "RING", "COORDSYS": "GAL", "NSIDE": NSIDE}
    table.header.update(header | {"INDXSCHM": "EXPLICIT"})
    ebounds = toys._counts_hdus(np.zeros((3, 2, 2)), toys.EDGES)[1]
    ebounds.name = "EBOUNDS"
    fits.HDUList([fits.PrimaryHDU(), table, ebounds]).writeto(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("healpix")
    config = toys.write_all(folder)
    write_healpix(folder / "healpix.fits")
    config["data"] |= {"counts": str(folder / "healpix.fits"), "exposure": "psf", "edisp": None}
    config["binning"] = {"roiwidth": 2.0, "coordsys": "GAL"}
    config["model"].pop("galdiff")
    return config


def test_counts_are_kept_and_a_source_is_found_with_its_flux(config):
    roi = ROI.from_config(config)
    geom = roi.geom
    assert geom.pixel_scales.to_value("deg")[0] == pytest.approx(0.5 * 58.6323 / NSIDE, rel=1e-3)
    # 2 counts per HEALPix pixel and bin on 4 square degrees, and 2000 of the source.
    expected = 3 * (2 * 4 / np.degrees(np.degrees(4 * np.pi / (12 * NSIDE**2))) + 2000)
    assert roi.datasets[0].counts.data.sum() == pytest.approx(expected, rel=0.03)
    roi.set_parameter("source", "Index", -0.5)
    roi.free_norm("source")
    roi.free_source("isodiff")
    roi["isodiff"].model.parameters["tilt"].frozen = False
    roi.free_index("source")
    result = roi.fit(update=False)
    assert result["fit_quality"] == 3
    assert roi.model_counts_map("source").data.sum() == pytest.approx(6000, rel=0.03)


def test_a_widened_psf_has_the_second_moment_of_both():
    axis = MapAxis.from_energy_bounds("10 GeV", "1 TeV", nbin=2, name="energy_true")
    psf = PSFMap.from_gauss(axis, sigma="0.2 deg")
    wide = widened_psf(psf, 0.3)
    for item, sigma2 in ((psf, 2 * 0.2**2), (wide, 2 * 0.2**2 + 0.5 * 0.3**2)):
        rad, values = item.radial_profile()
        moment = np.trapezoid(values[0] * rad**3, rad) / np.trapezoid(values[0] * rad, rad)
        # The table ends at 0.66 deg.
        assert moment == pytest.approx(sigma2, rel=0.12)


def test_what_healpix_cubes_need(config):
    without = copy.deepcopy(config)
    without.pop("binning")
    with pytest.raises(ConfigError, match=r"give its width as binning\.roiwidth"):
        ROI.from_config(without)
    without = copy.deepcopy(config)
    without.pop("selection")
    with pytest.raises(ConfigError, match="give its centre in the section selection"):
        ROI.from_config(without)
    wide = copy.deepcopy(config)
    wide["binning"]["roiwidth"] = 6.0
    with pytest.raises(ConfigError, match="covers only a part of the region"):
        ROI.from_config(wide)
