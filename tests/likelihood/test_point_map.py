"""Point sources at chosen directions: what is selected of their PSF, and counts in few pixels of many."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.special import erf

from villard.irf import PSFMap
from villard.likelihood import bind
from villard.likelihood.point_map import _selected, border_arrays, n_border
from villard.likelihood.psf_profiles import make_psf_profiles
from villard.likelihood.sky_grid import make_cutout, unit_vector
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

CENTER = SkyCoord(30, 10, unit="deg")
IMAGE = WcsGeom.create(skydir=CENTER, binsz=0.05, npix=(40, 30), proj="TAN")
SIGMAS = np.array([0.1, 0.06])


def shares(selected, vectors, splines, cutout):
    probability = np.array([[0.7], [0.2]])
    arrays = border_arrays(selected, probability, cutout, splines)
    arrays["psf_scale"] = splines.scale
    return np.array([_selected(vector, arrays) for vector in vectors]) / probability[:, 0]


@pytest.fixture(scope="module")
def splines():
    rad = np.linspace(0, 1, 1001)
    values = np.exp(-0.5 * (rad / SIGMAS[:, None]) ** 2)
    return make_psf_profiles(rad, values, "toy", 1 - 1e-9).splines


@pytest.mark.parametrize("origin", [(-20, -20), (8, 5)], ids=["beyond the map", "within it"])
def test_share_of_a_rectangle(splines, origin):
    """Closed form: the product of two error functions, wherever the source is."""
    shape = (30 - 2 * origin[1], 40 - 2 * origin[0])
    cutout = make_cutout(IMAGE, "icrs", CENTER, origin, shape)
    inside = np.zeros(shape)
    index = cutout.pixel_index(IMAGE.data_shape)
    inside.ravel()[index[index >= 0]] = 1.0
    offsets = np.array([(0, 0), (0.9, 0.2), (1.0, -0.75), (1.15, 0.3), (0.013, 0.749)])
    if origin[0] > 0:
        # A cutout in which all is selected has no border.
        assert n_border(inside.reshape(1, -1), cutout) == 0
        offsets = offsets[:1]
    # In the plane of the projection, where the rectangle is one.
    sky = IMAGE.pix_to_skydir(19.5 - offsets[:, 0] / 0.05, 14.5 + offsets[:, 1] / 0.05)
    found = shares(inside.reshape(1, -1), unit_vector(sky.ra.deg, sky.dec.deg), splines, cutout)
    half = np.array([1.0, 0.75])
    for (x, y), row in zip(offsets, found, strict=True):
        root = np.sqrt(2) * SIGMAS
        expected = 0.25 * (erf((half[0] - x) / root) + erf((half[0] + x) / root))
        expected = expected * (erf((half[1] - y) / root) + erf((half[1] + y) / root))
        np.testing.assert_allclose(row, expected, atol=4e-4)


def test_share_of_scattered_pixels(splines):
    """Any selection, with weights: the sum over pixels that are much finer."""
    cutout = make_cutout(IMAGE, "icrs", CENTER, (0, 0), (30, 40))
    weight = np.random.default_rng(2).choice([0, 0.3, 1.0], (1, 1200))
    lon, lat = cutout.nodes(8)
    vectors = unit_vector(lon, lat).transpose(0, 2, 1, 3, 4).reshape(1200, 64, 3)
    sources = unit_vector(np.array([30.0, 30.3, 30.03]), np.array([10.0, 9.8, 10.02]))
    found = shares(weight, sources, splines, cutout)
    area = cutout.area.ravel() / 64
    for source, row in zip(sources, found, strict=True):
        density = splines.evaluate(np.sum((vectors - source) ** 2, axis=-1)).sum(axis=1)
        np.testing.assert_allclose(row, (weight[0] * area) @ density, atol=2e-4)


def make_measurement(counts_at, mask):
    from villard.datasets import MapDataset

    energy = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    true = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=6, name="energy_true")
    geom = WcsGeom.create(skydir=CENTER, binsz=0.02, width=1.2, proj="TAN", axes=[energy])
    dataset = MapDataset.create(geom, energy_axis_true=true, name="few", binsz_irf=0.5)
    rad = MapAxis.from_edges(np.linspace(0, 0.6, 301) * u.deg, name="rad")
    dataset.psf = PSFMap.from_gauss(true, rad, sigma=np.linspace(0.05, 0.08, 6) * u.deg)
    dataset.psf_method = "exact"
    dataset.exposure = WcsNDMap(dataset.exposure.geom, unit="cm2 s")
    x = dataset.exposure.geom.get_coord().skycoord.ra.deg
    dataset.exposure.data = 1e14 * (1 + 0.5 * (x - 30))
    dataset.background = WcsNDMap(geom, data=np.full(geom.data_shape, 1e-3))
    dataset.counts = WcsNDMap(geom, data=np.zeros(geom.data_shape))
    for at in counts_at:
        dataset.counts.data[at] += 1
    dataset.mask_safe = WcsNDMap(geom, data=mask)
    return dataset


def test_few_pixels_of_many(monkeypatch):
    """Counts are wanted in forty bins: their statistic is that of all of them, and so are its derivatives."""
    rng = np.random.default_rng(5)
    places = [tuple(at) for at in np.column_stack([rng.integers(0, 3, 40), rng.integers(20, 45, (40, 2))])]
    mask = np.ones((3, 60, 60), dtype=bool)
    mask[0, :, :28], mask[:, 31, 30] = False, False
    dataset = make_measurement(places, mask)
    spectrum = PowerLawSpectralModel(amplitude=1e-12 * u.Unit("cm-2 s-1 TeV-1"))
    position = PointSpatialModel(lon_0=30.013 * u.deg, lat_0=10.02 * u.deg, frame="icrs")
    dataset.models = [SkyModel(spectrum, position, name="source")]
    few = bind([dataset])
    assert few.binding.blocks[0].shapes[0].map.rest
    monkeypatch.setattr("villard.likelihood.map_measurement._FEW", 1e9)
    every = bind([dataset])
    assert not hasattr(every.binding.blocks[0].shapes[0].map, "rest")
    for theta in (few.theta, few.theta * np.array([1.1, 0.8, 1 + 2e-3, 1 - 3e-3])):
        (value, gradient), (value_all, gradient_all) = (
            each.value_and_gradient(theta) for each in (few, every)
        )
        assert value == pytest.approx(value_all, abs=5e-3)
        np.testing.assert_allclose(gradient, gradient_all, rtol=1e-3, atol=1e-3 * np.abs(gradient_all).max())
    hessian, theta = few.hessian(), few.theta
    for i in range(len(theta)):
        step = 1e-5 * max(abs(theta[i]), 0.1) * np.eye(len(theta))[i]
        up, down = (few.value_and_gradient(theta + s)[1] for s in (step, -step))
        numeric = (up - down) / (2 * step[i])
        np.testing.assert_allclose(numeric, hessian[i], rtol=2e-3, atol=5e-4 * np.abs(hessian[i]).max())
