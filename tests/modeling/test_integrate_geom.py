"""Morphologies on maps: integrals over pixels and regions, values at pixel centres, plots."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

import villard.modeling.models as vm
from villard.exceptions import DataError, ModelError
from villard.maps import HpxGeom, Map, MapAxis, RegionGeom, WcsGeom
from villard.modeling.models.core import get_model_class

_PATH = Path(__file__).parents[1] / "reference" / "models_maps.json"
ENTRIES = {e["id"]: e for e in json.loads(_PATH.read_text())["entries"]}
AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
SHAPES = {
    "gauss": lambda r: vm.GaussianSpatialModel(sigma=r / 3, e=0.8, phi=30),
    "gengauss": lambda r: vm.GeneralizedGaussianSpatialModel(r_0=r / 8, eta=0.8),
    "disk": lambda r: vm.DiskSpatialModel(r_0=r, e=0.5, phi=70),
    "sharp disk": lambda r: vm.DiskSpatialModel(r_0=r, edge_width=0),
    "shell": lambda r: vm.ShellSpatialModel(radius=0.7 * r, width=0.3 * r),
    "shell2": lambda r: vm.Shell2SpatialModel(r_0=r, eta=0.05),
}


def at(model, lon, lat):
    model.lon_0.value, model.lat_0.value = lon, lat
    return model


# Points


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("integrate.point")])
def test_point_reference(name):
    entry = ENTRIES[name]
    inputs = entry["inputs"]
    geom = WcsGeom.create(npix=inputs["npix"], binsz=inputs["binsz"], skydir=(0, 0))
    model = vm.PointSpatialModel(lon_0=inputs["lon_0"], lat_0=inputs["lat_0"])
    found = model.integrate_geom(geom).data
    np.testing.assert_allclose(found, entry["expected"], rtol=entry["rtol"], atol=entry["atol"])


@given(lon=st.floats(-0.19, 0.19), lat=st.floats(-0.19, 0.19), turns=st.integers(-2, 2))
def test_point_is_shared(lon, lat, turns):
    """All flux arrives, and its centre of gravity is the position."""
    geom = WcsGeom.create(npix=5, binsz=0.1, skydir=(0, 0))
    data = vm.PointSpatialModel(lon_0=lon + 360 * turns, lat_0=lat).integrate_geom(geom).data
    np.testing.assert_allclose(data.sum(), 1)
    offsets = np.array([-0.2, -0.1, 0, 0.1, 0.2])
    np.testing.assert_allclose((data * -offsets).sum(), lon, atol=1e-10)
    np.testing.assert_allclose((data * offsets[:, None]).sum(), lat, atol=1e-10)


@pytest.mark.parametrize("x", [0.2, 0.22, 0.25, 0.299, 0.3, 1, 90, 180, 270])
@pytest.mark.parametrize("proj", ["CAR", "TAN"])
def test_flux_beyond_the_edge_is_lost(x, proj):
    geom = WcsGeom.create(npix=5, binsz=0.1, skydir=(0, 0), proj=proj)
    found = vm.PointSpatialModel(lon_0=x).integrate_geom(geom).data
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(found.sum(), np.clip((0.3 - x) / 0.1, 0, 1), atol=1e-4)


def test_point_on_a_whole_sky():
    geom = WcsGeom.create(npix=None, binsz=10, proj="CAR")
    data = vm.PointSpatialModel(lon_0=180.0).integrate_geom(geom).data
    np.testing.assert_allclose(data.sum(), 1)
    assert data[:, 0].sum() == pytest.approx(0.5)
    assert data[:, -1].sum() == pytest.approx(0.5)


# Extended shapes


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("radius", [1e-5, 1e-3, 0.05, 0.5])
@pytest.mark.parametrize(("lon", "lat"), [(0.013, 40.002), (359.951, 39.97)])
def test_all_flux_is_there(name, radius, lon, lat):
    """Whatever the size and the place in a pixel, also across pixel borders and longitude 0."""
    geom = WcsGeom.create(npix=(60, 60), binsz=0.05, skydir=(0, 40), proj="TAN")
    data = at(SHAPES[name](radius), lon, lat).integrate_geom(geom).data
    np.testing.assert_allclose(data.sum(), 1, atol=2e-5)
    if radius > 0.1:
        # The centre of gravity, of sources that fill many pixels.
        x, _ = geom.skydir_to_pix(SkyCoord(lon, lat, unit="deg"))
        np.testing.assert_allclose((data * np.arange(60)).sum(), x, atol=0.01)
    assert np.all(data >= 0)


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in ("gengauss",)])
def test_pixels_converge(name):
    """The sum over finer pixels is the integral over the coarse one."""
    model = at(SHAPES[name](0.4), 0.02, 0.01)
    coarse = WcsGeom.create(npix=12, binsz=0.1, skydir=(0, 0))
    fine = WcsGeom.create(npix=12 * 8, binsz=0.1 / 8, skydir=(0, 0))
    parts = model.integrate_geom(fine).data.reshape(12, 8, 12, 8).sum(axis=(1, 3))
    data = model.integrate_geom(coarse).data
    np.testing.assert_allclose(data, parts, atol=2e-6)
    many = model.integrate_geom(coarse, oversampling_factor=50).data
    np.testing.assert_allclose(many, data, atol=1e-3 * data.max() + 1e-5)


@pytest.mark.parametrize("name", ["integrate.gauss", "integrate.disk", "integrate.shell"])
def test_reference(name):
    entry = ENTRIES[name]
    inputs = entry["inputs"]
    geom = WcsGeom.create(npix=inputs["npix"], binsz=inputs["binsz"], skydir=(0, 0))
    parameters = {k: u.Quantity(*v) for k, v in inputs["parameters"].items()}
    model = get_model_class("spatial", inputs["model"])(**parameters)
    rtol = entry["rtol"]
    if name == "integrate.disk":
        # Gammapy's norm leaves out the soft edge: 1 + 0.092 w².
        rtol = 5e-3
    found = model.integrate_geom(geom).data[8:13, 6:16:3]
    np.testing.assert_allclose(found, entry["expected"], rtol=rtol)


def test_half_of_a_source_at_the_edge():
    geom = WcsGeom.create(npix=(20, 40), binsz=0.1, skydir=(0, 0))
    for model in (vm.GaussianSpatialModel(sigma=0.2), vm.DiskSpatialModel(r_0=0.5)):
        data = at(model, 1.0, 0.0).integrate_geom(geom).data
        np.testing.assert_allclose(data.sum(), 0.5, atol=1e-4)
    assert at(vm.DiskSpatialModel(r_0=0.5), 90, 0).integrate_geom(geom).data.sum() == 0


def test_isotropic():
    geom = WcsGeom.create(npix=(20, 40), binsz=1, skydir=(0, 30))
    data = vm.ConstantSpatialModel(value="3 sr-1").integrate_geom(geom)
    np.testing.assert_allclose(data.data, 3 * geom.solid_angle().value, rtol=1e-9)


def test_factor_is_checked():
    geom = WcsGeom.create(npix=2, binsz=1)
    for factor in (0, -1, 1.5):
        with pytest.raises(ModelError, match="oversampling_factor: expected a positive integer"):
            vm.GaussianSpatialModel().integrate_geom(geom, oversampling_factor=factor)
    with pytest.raises(DataError, match="expected a WcsGeom or RegionGeom"):
        vm.GaussianSpatialModel().integrate_geom(HpxGeom(2))


def test_cube():
    """A shape is integrated on the image, a template that depends on energy on the cube."""
    geom = WcsGeom.create(npix=20, binsz=0.1, skydir=(0, 0), axes=[AXIS])
    assert vm.GaussianSpatialModel(sigma=0.1).integrate_geom(geom).data.shape == (20, 20)
    template = Map.create(npix=6, binsz=0.2, skydir=(0, 0), axes=[AXIS])
    template.data[0, 1:5, 1:5] = 1
    template.data[1, 2:4, 2:4] = 1
    cube = vm.TemplateSpatialModel(template).integrate_geom(geom)
    assert cube.data.shape == (2, 20, 20)
    np.testing.assert_allclose(cube.data.sum(axis=(1, 2)), 1, rtol=5e-3)
    assert cube.data[1].max() > cube.data[0].max()


# Regions


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("icrs;circle(10, 20, 0.5)", 1 - np.exp(-0.5 * (0.5 / 0.3) ** 2)),
        ("icrs;annulus(10, 20, 0.3, 0.6)", np.exp(-0.5) - np.exp(-2)),
        ("icrs;box(10, 20, 8, 8, 0)", 1),
    ],
)
def test_region(region, expected):
    model = at(vm.GaussianSpatialModel(sigma=0.3), 10, 20)
    geom = RegionGeom(region, axes=[AXIS])
    found = model.integrate_geom(geom)
    assert found.data.shape == (1, 1)
    np.testing.assert_allclose(found.data, expected, rtol=3e-3)


def test_points_and_regions():
    geom = RegionGeom("icrs;circle(10, 20, 0.5)")
    assert vm.PointSpatialModel(lon_0=10.1, lat_0=20).integrate_geom(geom).data.ravel() == 1
    assert vm.PointSpatialModel(lon_0=11, lat_0=20).integrate_geom(geom).data.ravel() == 0
    with pytest.raises(DataError, match="no region"):
        vm.PointSpatialModel().integrate_geom(RegionGeom())
    with pytest.raises(DataError, match="a point has no area"):
        vm.GaussianSpatialModel().integrate_geom(RegionGeom("icrs;point(10, 20)"))
    template = Map.create(npix=20, binsz=0.2, skydir=(10, 20), axes=[AXIS])
    template.data += 1
    found = vm.TemplateSpatialModel(template).integrate_geom(
        RegionGeom("icrs;circle(10, 20, 0.5)", axes=[AXIS])
    )
    np.testing.assert_allclose(found.data.ravel(), np.pi * 0.25 / 16, rtol=5e-3)


# Values


def test_values():
    geom = WcsGeom.create(npix=5, binsz=0.1, skydir=(0, 0), frame="galactic", axes=[AXIS])
    model = vm.GaussianSpatialModel(sigma=0.2, frame="galactic")
    values = model.evaluate_geom(geom)
    assert values.shape == (5, 5)
    np.testing.assert_allclose(values[2, 2], model(0 * u.deg, 0 * u.deg))
    center = SkyCoord(0, 0, unit="deg", frame="galactic").icrs
    same = vm.GaussianSpatialModel.from_position(center, sigma="0.2 deg")
    np.testing.assert_allclose(same.evaluate_geom(geom).value, values.value, rtol=1e-9)
    point = vm.PointSpatialModel(lon_0=0.03, frame="galactic")
    total = np.sum(point.evaluate_geom(geom) * geom.solid_angle())
    np.testing.assert_allclose(total.value, 1)


# Plots


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    yield pyplot
    pyplot.close("all")


def fitted():
    model = vm.GaussianSpatialModel(sigma="0.3 deg", frame="galactic")
    model.lon_0.error, model.lat_0.error, model.sigma.error = 0.05, 0.02, 0.03
    return model


def test_plot(plt):
    ax = fitted().plot(add_cbar=True)
    image = ax.images[0].get_array()
    assert np.unravel_index(np.argmax(image), image.shape) in [(i, j) for i in (74, 75) for j in (74, 75)]
    geom = WcsGeom.create(npix=10, binsz=0.1, frame="galactic")
    plt.figure()
    assert fitted().plot(geom=geom).images[0].get_array().shape == (10, 10)
    plt.figure()
    vm.ConstantSpatialModel().plot(geom=geom)
    with pytest.raises(ModelError, match="give the plot a geometry"):
        vm.ConstantSpatialModel().plot()


def test_plot_errors(plt):
    model = fitted()
    n_lines = {"position": 2, "extension": 3, "all": 5}
    for which, n in n_lines.items():
        plt.figure()
        assert len(model.plot_error(which=which).lines) == n
    plt.figure()
    ax = model.plot()
    assert model.plot_error(ax, which="all", kwargs_position={"color": "k"}) is ax
    shell = vm.ShellSpatialModel()
    shell.radius.error = 0.1
    plt.figure()
    shell.plot_error(which="extension")
    with pytest.raises(ModelError, match="which must be one of position, extension, all"):
        model.plot_error(which="size")
    with pytest.raises(ModelError, match="axes with sky coordinates"):
        model.plot_error(plt.figure().add_subplot())


def test_plot_grid(plt):
    template = Map.create(npix=6, binsz=0.2, skydir=(0, 0), axes=[AXIS])
    template.data += 1
    model = vm.TemplateSpatialModel(template)
    assert len(model.plot_grid()) == 2
    assert len(fitted().plot_grid(geom=template.geom)) == 2
    with pytest.raises(ModelError, match="use plot_grid"):
        model.plot()
    with pytest.raises(ModelError, match="a geometry with energies"):
        fitted().plot_grid()
