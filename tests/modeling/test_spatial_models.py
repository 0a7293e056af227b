"""Spatial models: reference numbers, normalisation, derivatives, geometry."""

import json
import math
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gamma

import villard.modeling.models as models
from villard._jax import jax, jnp
from villard.exceptions import ModelError, ParameterError, UnitsError
from villard.maps import SkyRegion
from villard.modeling.models.core import _REGISTRY, get_model_class
from villard.modeling.models.spatial.sphere import angle, angle_squared, offset

_PATH = Path(__file__).parents[1] / "reference" / "spatial_temporal.json"
ENTRIES = {e["id"]: e for e in json.loads(_PATH.read_text())["entries"]}
CENTER = {"lon_0": 359.9, "lat_0": 40.0}
MAKE = {
    "PointSpatialModel": lambda: models.PointSpatialModel(**CENTER),
    "ConstantSpatialModel": lambda: models.ConstantSpatialModel(value="2 sr-1"),
    "GaussianSpatialModel": lambda: models.GaussianSpatialModel(**CENTER, sigma=0.4, e=0.6, phi=25),
    "GeneralizedGaussianSpatialModel": lambda: models.GeneralizedGaussianSpatialModel(
        **CENTER, r_0=0.5, eta=0.8, e=0.5, phi=25
    ),
    "DiskSpatialModel": lambda: models.DiskSpatialModel(**CENTER, r_0=0.5, e=0.5, phi=25, edge_width=0.6),
    "ShellSpatialModel": lambda: models.ShellSpatialModel(**CENTER, radius=0.4, width=0.2),
    "Shell2SpatialModel": lambda: models.Shell2SpatialModel(**CENTER, r_0=0.6, eta=0.4),
}
EXTENDED = [name for name in MAKE if name not in ("PointSpatialModel", "ConstantSpatialModel")]


def density(model, lon, lat):
    return model(lon * u.deg, lat * u.deg).to_value("sr-1")


def around(model, r, p):
    """Directions at separation r and position angle p (rad) from the centre of a model (deg)."""
    l_0, b_0 = np.radians(model.position_lonlat)
    sin_lat = np.sin(b_0) * np.cos(r) + np.cos(b_0) * np.sin(r) * np.cos(p)
    d_lon = np.arctan2(np.sin(p) * np.sin(r) * np.cos(b_0), np.cos(r) - np.sin(b_0) * sin_lat)
    return np.degrees(l_0 + d_lon), np.degrees(np.arcsin(np.clip(sin_lat, -1, 1)))


def sphere_integral(model, breaks, n_r=60, n_p=128):
    """Integral in polar coordinates around the centre: panels in r (deg), equal steps in angle."""
    nodes, weights = np.polynomial.legendre.leggauss(n_r)
    p = (np.arange(n_p) + 0.5) * 2 * np.pi / n_p
    total = 0.0
    for low, high in zip(np.radians(breaks[:-1]), np.radians(breaks[1:]), strict=True):
        # In this variable the square-root edges of shells at the ends of panels are smooth.
        s = 0.5 * (nodes + 1)
        r = low + (high - low) * s**2 * (3 - 2 * s)
        w = 0.5 * weights * 6 * s * (1 - s) * (high - low)
        values = density(model, *around(model, r[:, None], p))
        total += np.sum(values * (w * np.sin(r))[:, None]) * 2 * np.pi / n_p
    return total


def test_every_model_is_here():
    models.load_all("spatial")
    package = "villard.modeling.models"
    known = {cls.__name__ for cls in _REGISTRY["spatial"].values() if cls.__module__.startswith(package)}
    assert known - {"SpatialModel"} >= set(MAKE)
    for name in MAKE:
        assert all(get_model_class("spatial", tag).__name__ == name for tag in get_tags(name))


def get_tags(name):
    return getattr(models, name).tag


# Numbers


@pytest.mark.parametrize("name", [n for n in ENTRIES if n.endswith(".offsets")])
def test_reference_offsets(name):
    entry = ENTRIES[name]
    parameters = {k: v[0] * u.Unit(v[1]) for k, v in entry["inputs"]["parameters"].items()}
    model = get_model_class("spatial", entry["inputs"]["model"])(**parameters)
    offsets = np.array(entry["inputs"]["offsets_deg"])
    for axis, lon, lat in (("north", 0 * offsets, offsets), ("east", offsets, 0 * offsets)):
        expected = entry["expected"][axis]
        np.testing.assert_allclose(
            density(model, lon, lat), expected, rtol=entry["rtol"], atol=entry["atol"], err_msg=axis
        )


def test_reference_shell():
    entry = ENTRIES["spatial.shell.values"]
    inputs = entry["inputs"]
    model = models.ShellSpatialModel(**{k: inputs[k] for k in ("lon_0", "lat_0", "radius", "width")})
    values = density(model, np.array(inputs["lon"], dtype=float), inputs["lat"])
    np.testing.assert_allclose(values, entry["expected"], rtol=entry["rtol"])


def test_reference_gaussian_ratio():
    entry = ENTRIES["spatial.gauss.ratio_1sigma"]
    model = models.GaussianSpatialModel(sigma=entry["inputs"]["sigma_deg"])
    peak, shoulder = density(model, np.array([0.0, 1.0]), np.zeros(2))
    np.testing.assert_allclose(peak / shoulder, entry["expected"], rtol=entry["rtol"])


def test_generalized_gaussian_contains_the_gaussian():
    gauss = models.GaussianSpatialModel(sigma=0.1, e=0.7, phi=40)
    general = models.GeneralizedGaussianSpatialModel(r_0=0.1 * math.sqrt(2), eta=0.5, e=0.7, phi=40)
    x = np.linspace(-0.2, 0.2, 9)
    np.testing.assert_allclose(density(general, x, x[:, None]), density(gauss, x, x[:, None]), rtol=2e-5)


@pytest.mark.parametrize("name", ["GaussianSpatialModel", "DiskSpatialModel"])
def test_phi_counts_from_north_to_east(name):
    model = getattr(models, name)(**CENTER, e=0.9, phi=30)
    lon, lat = around(model, np.radians(0.8), np.radians([30.0, 210, 120, 300]))
    along, opposite, across, across_2 = density(model, lon, lat)
    np.testing.assert_allclose([along, across], [opposite, across_2], rtol=1e-10, atol=1e-12)
    assert along > 3 * across


# Integrals


@pytest.mark.parametrize("sigma", [0.01, 1, 20, 60])
@pytest.mark.parametrize("e", [0, 0.3, 0.8, 0.95])
def test_gaussian_is_normalised_on_the_sphere(sigma, e):
    model = models.GaussianSpatialModel(**CENTER, sigma=sigma, e=e, phi=30)
    edges = np.unique(np.minimum(sigma * np.array([0, 0.5, 1, 2, 4, 7, 10]), 180))
    if sigma >= 18 and edges[-1] < 180:
        edges = np.append(edges, 180)
    rtol = 1e-9 if sigma <= 20 else 2e-7
    np.testing.assert_allclose(sphere_integral(model, edges, n_p=512), 1, rtol=rtol)


@pytest.mark.parametrize("r_0", [0.1, 5, 60])
@pytest.mark.parametrize("e", [0, 0.8])
@pytest.mark.parametrize("edge_width", [0.01, 0.5, 1])
def test_disk_is_normalised_on_the_sphere(r_0, e, edge_width):
    model = models.DiskSpatialModel(**CENTER, r_0=r_0, e=e, phi=30, edge_width=edge_width)
    edges = r_0 * np.linspace(0, 3, 61)
    np.testing.assert_allclose(sphere_integral(model, edges, n_r=40, n_p=256), 1, rtol=2e-5)


@pytest.mark.parametrize(("radius", "width"), [(0.3, 0.2), (1, 1e-3), (0, 1), (2, 2)])
def test_shell_is_normalised_but_for_the_curvature(radius, width):
    model = models.ShellSpatialModel(**CENTER, radius=radius, width=width)
    outer = radius + width
    edges = np.unique([0, radius / 2, radius, radius + width / 2, outer])
    integral = sphere_integral(model, edges, n_p=8)
    assert 0 < 1 - integral < 1.7 * np.radians(outer) ** 2 / 6
    same = models.Shell2SpatialModel(**CENTER, r_0=outer, eta=width / outer if width > 0.02 else 0.02)
    if width > 0.02:
        np.testing.assert_allclose(sphere_integral(same, edges, n_p=8), integral, rtol=1e-10)


def test_full_sphere_lacks_the_stated_part():
    model = models.ShellSpatialModel(**CENTER, radius=0, width=3)
    deficit = np.radians(3) ** 2 / 15
    np.testing.assert_allclose(1 - sphere_integral(model, [0, 1, 3], n_p=8), deficit, rtol=1e-3)


@pytest.mark.parametrize("eta", [0.02, 0.2, 0.5, 0.8, 1])
@pytest.mark.parametrize("e", [0, 0.7])
def test_generalized_gaussian_is_normalised_but_for_the_curvature(eta, e):
    model = models.GeneralizedGaussianSpatialModel(**CENTER, r_0=0.3, eta=eta, e=e, phi=-50)
    edges = 0.3 * np.concatenate([np.linspace(0, 2, 41), np.linspace(2, 40, 20)[1:]])
    deficit = np.radians(0.3) ** 2 * gamma(4 * eta) / gamma(2 * eta) / 6
    integral = sphere_integral(model, edges, n_r=24, n_p=192)
    assert abs(1 - integral) < 1.1 * deficit + 1e-8
    if e == 0:
        np.testing.assert_allclose(1 - integral, deficit, rtol=1e-2, atol=1e-9)


@pytest.mark.parametrize("name", EXTENDED)
def test_evaluation_radius_holds_the_flux(name):
    model = MAKE[name]()
    radius = model.evaluation_radius.to_value("deg")
    edges = np.unique(np.append(np.linspace(0, radius, 61), [r for r in (0.36, 0.4) if r < radius]))
    assert abs(1 - sphere_integral(model, edges, n_r=40)) < 5e-5


# Derivatives


def flat(name):
    """Density as a function of one vector: lon, lat and the parameters."""
    pure = MAKE[name]().pure()
    return lambda x: pure.evaluate(x[0], x[1], x[2:], pure.arrays)


def start(name, lon, lat):
    return np.array([lon, lat, *(p.engine_value for p in MAKE[name]().parameters)])


@pytest.mark.parametrize("name", [*EXTENDED, "ConstantSpatialModel"])
@pytest.mark.parametrize(("lon", "lat"), [(0.13, 40.21), (359.8, 39.9), (-0.4, 40.15)])
def test_derivatives(name, lon, lat):
    function, x = flat(name), start(name, lon, lat)
    value = function(x)
    scale = np.max(np.abs(value))
    np.testing.assert_allclose(function(jnp.array(x)), value, rtol=1e-11)
    gradient, hessian = jax.grad(function)(jnp.array(x)), jax.hessian(function)(jnp.array(x))
    step = 1e-6
    for i in range(len(x)):
        shift = step * np.eye(len(x))[i]
        difference = (function(x + shift) - function(x - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[i], difference, rtol=3e-6, atol=1e-7 * scale)
        second = (jax.grad(function)(jnp.array(x + shift)) - jax.grad(function)(jnp.array(x - shift))) / (
            2 * step
        )
        np.testing.assert_allclose(hessian[i], second, rtol=1e-5, atol=1e-5 * scale)


SPECIAL_POINTS = {
    "centre": (359.9, 40.0),
    "centre, a turn away": (-0.1, 40.0),
    "very near": (359.9, 40.0 + 1e-11),
    "antipode": (179.9, -40.0),
    "pole": (12.0, 90.0),
    "far": (100.0, -10.0),
}


@pytest.mark.parametrize("name", EXTENDED)
@pytest.mark.parametrize("point", SPECIAL_POINTS)
def test_derivatives_are_finite_everywhere(name, point):
    x = jnp.array(start(name, *SPECIAL_POINTS[point]))
    for f in (flat(name), jax.grad(flat(name)), jax.hessian(flat(name))):
        assert np.all(np.isfinite(f(x)))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("GaussianSpatialModel", {"e": 0.0, "phi": 0.0}),
        ("GaussianSpatialModel", {"e": 1.0}),
        ("GaussianSpatialModel", {"sigma": 0.0}),
        ("GaussianSpatialModel", {"lat_0": 90.0}),
        ("GeneralizedGaussianSpatialModel", {"eta": 0.01}),
        ("GeneralizedGaussianSpatialModel", {"eta": 1.0, "e": 0.0}),
        ("DiskSpatialModel", {"edge_width": 0.0}),
        ("DiskSpatialModel", {"r_0": 0.0}),
        ("ShellSpatialModel", {"width": 0.0}),
        ("ShellSpatialModel", {"radius": 0.0}),
        ("Shell2SpatialModel", {"eta": 1.0}),
    ],
)
@pytest.mark.parametrize("point", ["centre", "near", "far"])
def test_derivatives_are_finite_at_limits(name, changes, point):
    model = MAKE[name]()
    lon, lat = {"centre": (359.9, 40.0), "near": (0.1, 40.1), "far": (100.0, -10.0)}[point]
    values = {p.name: p.engine_value for p in model.parameters} | changes
    x = jnp.array([lon, lat, *values.values()])
    for f in (flat(name), jax.grad(flat(name)), jax.hessian(flat(name))):
        assert np.all(np.isfinite(f(x)))


def test_gaussian_hessian_at_its_centre():
    """There the second derivative is that of the bivariate normal distribution."""
    x = jnp.array([*CENTER.values(), *CENTER.values(), 0.4, 0.6, 90.0])
    function = flat("GaussianSpatialModel")
    ratio = np.asarray(jax.hessian(function)(x))[2:4, 2:4] / function(x)
    # The major axis points east; a degree of longitude is cos(40 deg) long.
    expected = -np.diag([(np.cos(np.radians(40)) / 0.4) ** 2, 1 / (0.4 * 0.8) ** 2])
    np.testing.assert_allclose(ratio, expected, rtol=2e-5, atol=1e-6)


# Geometry


@given(
    turns=st.integers(-3, 3),
    lon_0=st.floats(-1, 1),
    lon=st.floats(-1, 1),
    lat=st.floats(38, 42),
    name=st.sampled_from(EXTENDED),
)
def test_longitudes_are_unbounded(turns, lon_0, lon, lat, name):
    model = MAKE[name]()
    edges_are_sharp = "Shell" in name
    model.lon_0.value = lon_0
    value = density(model, lon, lat)
    shifted = [density(model, lon + 360 * turns, lat)]
    model.lon_0.value = lon_0 + 360 * turns
    shifted += [density(model, lon, lat), density(model, lon % 360, lat)]
    scale = density(model, lon_0, 40.0)
    np.testing.assert_allclose(shifted, value, rtol=1e-9, atol=(1e-5 if edges_are_sharp else 1e-12) * scale)


@given(r=st.floats(1e-9, 179.9), p=st.floats(0, 360), lat=st.floats(-89, 89))
def test_separations(r, p, lat):
    model = models.PointSpatialModel(lon_0=10, lat_0=lat)
    lon_1, lat_1 = around(model, np.radians(r), np.radians(p))
    at = offset(lon_1, lat_1, 10.0, lat)
    expected = SkyCoord(10, lat, unit="deg").separation(SkyCoord(lon_1, lat_1, unit="deg")).rad
    np.testing.assert_allclose(angle(at.haversine), expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(np.sqrt(angle_squared(at.haversine)), expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(np.hypot(at.east, at.north), np.sin(expected), rtol=1e-7, atol=1e-12)


@given(h=st.floats(0, 0.02))
def test_series_of_the_squared_angle(h):
    np.testing.assert_allclose(angle_squared(h), (2 * np.arcsin(np.sqrt(h))) ** 2, rtol=1e-13, atol=1e-29)


def test_small_separations_keep_their_digits():
    model = models.GaussianSpatialModel(lon_0=83.633, lat_0=22.014, sigma="0.01 arcsec")
    value = density(model, 83.633, np.array([22.014 + 1 / 3.6e5]))
    peak = density(model, 83.633, np.array([22.014]))
    np.testing.assert_allclose(value / peak, math.exp(-0.5), rtol=1e-8)


def test_positions_and_frames():
    model = models.PointSpatialModel(lon_0="0 deg", lat_0="0 deg", frame="galactic")
    assert model.position.icrs.separation(SkyCoord("0d", "0d", frame="galactic")).deg < 1e-10
    assert model.position_lonlat == (0.0, 0.0)
    made = models.GaussianSpatialModel.from_position(model.position, sigma="0.1 deg")
    assert made.frame == "galactic"
    assert made.sigma.value == 0.1
    made.position = SkyCoord("266.4 deg", "-28.9 deg", frame="icrs")
    assert made.position.separation(SkyCoord("266.4 deg", "-28.9 deg", frame="icrs")).deg < 1e-10
    assert made.frame == "galactic"
    constant = models.ConstantSpatialModel()
    assert constant.position is None
    assert constant.evaluation_radius is None
    with pytest.raises(ModelError, match="no position"):
        _ = constant.position_lonlat
    with pytest.raises(ModelError, match="no position"):
        constant.position = model.position


def test_position_error():
    model = models.GaussianSpatialModel(lon_0=10, lat_0=60, frame="galactic")
    with pytest.raises(ModelError, match="no errors"):
        _ = model.position_error
    model.lon_0.error, model.lat_0.error = 0.01, 0.02
    # 95 % of a bivariate normal distribution; the longitude's error shrinks by cos(60 deg).
    expected = (0.012238734, 0.048954937)
    np.testing.assert_allclose(model.position_error.sizes, expected, rtol=1e-7)
    assert model.position_error.frame == "galactic"
    assert model.phi_0.value % 180 == 0
    covariance = np.zeros((5, 5))
    covariance[:2, :2] = [[1e-4, 5e-5], [5e-5, 2e-4]]
    model.covariance = covariance
    # A positive covariance is elongated from south-west to north-east.
    np.testing.assert_allclose(model.phi_0.to_value("deg"), 7.97269795, rtol=1e-8)


def test_covariance_in_other_units():
    model = models.PointSpatialModel(lon_0="36000 arcsec", lat_0="0 deg")
    model.lon_0.error, model.lat_0.error = 72.0, 0.01
    np.testing.assert_allclose(model.position_error.sizes, 2.447746831 * np.array([0.01, 0.02]), rtol=1e-8)


def test_outlines():
    ellipse = models.GaussianSpatialModel(**CENTER, sigma=0.5, e=0.8, phi=20, frame="fk5").to_region(2)
    assert ellipse.is_allclose(SkyRegion("ellipse", 359.9, 40, (0.6, 1.0), 20, "fk5"))
    disk = models.DiskSpatialModel(**CENTER, r_0=0.5, e=0.8, phi=20, edge_width=0)
    region = disk.to_region()
    lon, lat = around(disk, np.radians([0.3, 0.49, 0.31, 0.29]), np.radians([20.0, 20, 110, 110]))
    inside = region.contains(SkyCoord(lon, lat, unit="deg"))
    np.testing.assert_array_equal(inside, density(disk, lon, lat) > 0)
    np.testing.assert_array_equal(inside, [True, True, False, True])
    annulus = models.ShellSpatialModel(**CENTER, radius=1, width=0.5).to_region()
    assert annulus.is_allclose(SkyRegion("annulus", 359.9, 40, (1, 1.5)))
    annulus = models.Shell2SpatialModel(**CENTER, r_0=2, eta=0.25).to_region()
    assert annulus.is_allclose(SkyRegion("annulus", 359.9, 40, (1.5, 2)))
    assert models.PointSpatialModel(**CENTER).to_region().shape == "point"
    with pytest.raises(ModelError, match="no outline"):
        models.ConstantSpatialModel().to_region()


@pytest.mark.parametrize("text", ["galactic;circle(1, 2, 0.5)", "icrs;ellipse(1, 2, 0.7, 0.4, 15)"])
def test_disk_of_a_region(text):
    region = SkyRegion.parse(text)
    disk = models.DiskSpatialModel.from_region(text, edge_width=0)
    assert disk.frame == region.frame
    lon, lat = np.random.default_rng(1).uniform(-1, 1, (2, 500)) + [[1], [2]]
    inside = region.contains(SkyCoord(lon, lat, unit="deg", frame=region.frame))
    np.testing.assert_array_equal(density(disk, lon, lat) > 0, inside)
    with pytest.raises(ModelError, match="circle or an ellipse"):
        models.DiskSpatialModel.from_region("icrs;box(1, 2, 3, 4, 0)")


# Faces


@pytest.mark.parametrize("name", MAKE)
def test_yaml(name):
    model = MAKE[name]()
    if name != "ConstantSpatialModel":
        model.frame = "galactic"
    data = model.to_dict()
    assert next(iter(data)) == "type"
    assert data.get("frame") == (None if name == "ConstantSpatialModel" else "galactic")
    again = type(model).from_dict(data)
    assert again.to_dict() == data
    assert again.frame == model.frame
    assert model.copy().to_dict() == data


def test_bad_input():
    with pytest.raises(ModelError, match="unknown frame 'galaktisch'"):
        models.PointSpatialModel(frame="galaktisch")
    with pytest.raises(ModelError, match="no parameter 'sigm'"):
        models.GaussianSpatialModel(sigm=3)
    with pytest.raises(ParameterError, match="outside its limits"):
        models.GaussianSpatialModel(lat_0=91)
    with pytest.raises(UnitsError, match="lon: expected an angle"):
        models.GaussianSpatialModel()(3, 4 * u.deg)
    with pytest.raises(ModelError, match="no density"):
        models.PointSpatialModel()(3 * u.deg, 4 * u.deg)
    with pytest.raises(ModelError, match="spatial_model must be a SpatialModel"):
        models.SkyModel(models.PowerLawSpectralModel(), models.PowerLawSpectralModel())


def test_sky_model():
    spectrum, shape = models.PowerLawSpectralModel(), models.GaussianSpatialModel(frame="galactic")
    model = models.SkyModel(spectrum, shape, models.LinearTemporalModel(alpha=2), name="source")
    assert model.frame == "galactic"
    assert model.position.separation(SkyCoord("0d", "0d", frame="galactic")).deg < 1e-10
    assert model.position_lonlat == (0.0, 0.0)
    assert model.evaluation_radius == 5 * u.deg
    value = model(0 * u.deg, 0 * u.deg, 1 * u.TeV, 51544 * u.d)
    np.testing.assert_allclose(value.to_value("cm-2 s-1 TeV-1 sr-1"), 2e-12 * density(shape, 0.0, 0.0))
    assert models.Models.from_dict(models.Models(model).to_dict()).to_dict() == models.Models(model).to_dict()
    plain = models.SkyModel(spectrum, name="plain")
    assert plain.position is None
    assert plain.evaluation_radius is None
    with pytest.raises(ModelError, match="SkyModel 'plain' has no spatial model"):
        _ = plain.frame


def test_reads_a_file_of_gammapy(gammapy_data):
    import yaml

    text = (gammapy_data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_models.yaml").read_text()
    crab = models.Models.from_dict({"components": yaml.safe_load(text)["components"][:1]})["Crab Nebula"]
    assert isinstance(crab.spatial_model, models.PointSpatialModel)
    assert crab.position.separation(SkyCoord(83.63310241699219, 22.019899368286133, unit="deg")).deg < 1e-12
    assert crab.spatial_model.frozen
    assert (crab.spatial_model.lat_0.min, crab.spatial_model.lat_0.max) == (-90, 90)
