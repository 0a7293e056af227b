"""HEALPix cubes as inputs."""

import copy

import numpy as np
import pytest
import region_toys as toys
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from villard.datasets import MapDataset
from villard.exceptions import ConfigError
from villard.irf import PSFMap
from villard.likelihood.linear import LinearNorms
from villard.maps import HpxGeom, HpxNDMap, MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import SkyModel
from villard.roi import ROI
from villard.roi.healpix import counts_on_pixels, widened_psf

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


class Pixels:
    """A point source on a flat background in HEALPix pixels, and what becomes of them."""

    def __init__(self, ratio, width=2.4):
        axis = MapAxis.from_energy_bounds("10 GeV", "100 GeV", nbin=1)
        self.hpx = HpxGeom(NSIDE, frame="galactic", axes=[axis])
        size = np.degrees(np.sqrt(self.hpx.solid_angle().value))
        sigma = size / ratio
        source = SkyCoord("0.23d 0.11d", frame="galactic")
        grid = np.arange(-width, width, size / 3)
        image = HpxGeom(NSIDE, frame="galactic")
        self.near = np.unique(
            image.skydir_to_idx(SkyCoord(*np.meshgrid(grid, grid), unit="deg", frame="galactic"))
        )
        # Points within the pixels, dense enough for their integrals.
        fine = np.arange(-1.1, 1.1, size / 16)
        places = SkyCoord(*np.meshgrid(fine, fine), unit="deg", frame="galactic")
        psf = np.exp(-0.5 * (places.separation(source).deg / sigma) ** 2) / (2 * np.pi * sigma**2)
        area = (size / 16) ** 2 * np.cos(places.b.rad)
        total = np.bincount(image.skydir_to_idx(places).ravel(), (psf * area).ravel(), minlength=image.npix)
        self.templates = np.array([300 * total[self.near], np.full(len(self.near), 20 * size**2)])
        place = SkyCoord(*image._healpix.healpix_to_lonlat(self.near), frame="galactic")
        self.inside = (np.abs(place.l.wrap_at("180d").deg) < width / 2) & (np.abs(place.b.deg) < width / 2)
        self.geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=size / 2, width=width, axes=[axis])
        true = self.geom.as_energy_true()
        psf = PSFMap.from_gauss(true.axes["energy_true"], sigma=f"{sigma} deg", rad_axis=rad_axis(8 * sigma))
        pixel = size / np.sqrt(np.pi)
        dataset = MapDataset(
            counts=WcsNDMap(self.geom),
            exposure=WcsNDMap(true, data=np.full(true.data_shape, 1e11), unit="cm2 s"),
            psf=widened_psf(widened_psf(psf, pixel), pixel),
            psf_method="exact",
        )
        model = SkyModel.create("pl", "point", name="A")
        model.spatial_model.frame = "galactic"
        model.spatial_model.lon_0.value, model.spatial_model.lat_0.value = 0.23, 0.11
        dataset.models = [model]
        flux = 1e11 * model.spectral_model.integral(*axis.edges).to_value("cm-2 s-1")
        flat = 20 * self.geom.to_image().solid_angle().to_value("deg2")
        self.spread = np.array([300 / flux * dataset.npred().data.ravel(), flat.ravel()])

    def fits(self, counts):
        """Norm, error and TS by the likelihood of HEALPix pixels, and by that of the others."""
        cube = HpxNDMap(self.hpx, data=0.0)
        cube.data[0, self.near] = counts
        spread = counts_on_pixels(cube, self.geom).data.ravel()
        return np.array(
            [_fit(counts[self.inside], self.templates[:, self.inside]), _fit(spread, self.spread)]
        )


def rad_axis(largest):
    return MapAxis.from_edges(np.linspace(0, largest, 400), unit="deg", name="rad")


def _fit(counts, templates):
    def minimum(templates):
        some, zero = counts > 0, np.zeros(len(templates))
        norms = LinearNorms(
            counts[some], templates[:, some], 0 * counts[some], templates.sum(axis=1), 0.0, lower=zero
        )
        return norms, norms.minimize(zero + 1)

    (norms, found), (_, null) = minimum(templates), minimum(templates[1:])
    error = np.sqrt(2 * np.linalg.inv(norms.hessian(found.x))[0, 0])
    return found.x[0], error, null.stat - found.stat


@pytest.mark.parametrize(("ratio", "lost"), [(0.5, 0.020), (1.0, 0.037), (2.0, 0.075)])
def test_beside_the_likelihood_of_healpix_pixels(ratio, lost):
    """Pixels of some sigma of the PSF: norms and errors are right, some of the TS is lost."""
    pixels = Pixels(ratio)
    exact, found = pixels.fits(pixels.templates.sum(axis=0))
    assert exact[0] == pytest.approx(1, abs=1e-6)
    assert found[0] == pytest.approx(1, abs=4e-3)
    assert found[1] == pytest.approx(exact[1], rel=0.01)
    assert 1 - found[2] / exact[2] == pytest.approx(lost, abs=0.005)
    rng = np.random.default_rng(1)
    for _ in range(5):
        exact, found = pixels.fits(rng.poisson(pixels.templates.sum(axis=0)).astype(float))
        assert abs(found[0] - exact[0]) < 0.1 * exact[1]


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
