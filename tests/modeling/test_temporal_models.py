"""Temporal models: reference numbers, integrals, derivatives, time scales."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

import villard.modeling.models as models
from villard._jax import jax, jnp
from villard.data.gti import GTI
from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.core import _REGISTRY, get_model_class

_PATH = Path(__file__).parents[1] / "reference" / "spatial_temporal.json"
ENTRIES = {e["id"]: e for e in json.loads(_PATH.read_text())["entries"]}
DAY = 86400.0
REF = 55555.0
MAKE = {
    "ConstantTemporalModel": lambda: models.ConstantTemporalModel(),
    "LinearTemporalModel": lambda: models.LinearTemporalModel(alpha=0.9, beta="0.1 d-1", t_ref=REF),
    "ExpDecayTemporalModel": lambda: models.ExpDecayTemporalModel(t0="2 d", t_ref=REF),
    "PowerLawTemporalModel": lambda: models.PowerLawTemporalModel(alpha=-0.7, t0="2 d", t_ref=REF),
    "SineTemporalModel": lambda: models.SineTemporalModel(amp=0.5, omega="2 rad d-1", t_ref=REF),
    "GaussianTemporalModel": lambda: models.GaussianTemporalModel(sigma="0.7 d", t_ref=REF),
    "GeneralizedGaussianTemporalModel": lambda: models.GeneralizedGaussianTemporalModel(
        t_rise="0.5 d", t_decay="2 d", eta=0.4, t_ref=REF
    ),
}
#: Intervals in days after the reference time.
INTERVALS = [(0.5, 1.0), (2.0, 4.0), (-1.3, -0.2), (-0.6, 0.7)]


def mjd(days):
    return Time(REF, np.asarray(days, dtype=float), format="mjd", scale="utc")


def test_every_model_is_here():
    models.load_all("temporal")
    package = "villard.modeling.models"
    known = {cls.__name__ for cls in _REGISTRY["temporal"].values() if cls.__module__.startswith(package)}
    assert known - {"TemporalModel"} >= set(MAKE)
    for name in MAKE:
        assert all(get_model_class("temporal", t).__name__ == name for t in getattr(models, name).tag)


# Numbers


def make_entry(entry):
    inputs = entry["inputs"]
    parameters = {k: v[0] * u.Unit(v[1]) for k, v in inputs["parameters"].items()}
    return get_model_class("temporal", inputs["model"])(**parameters), inputs


def test_reference_value():
    entry = ENTRIES["temporal.linear.eval"]
    model, inputs = make_entry(entry)
    np.testing.assert_allclose(model(inputs["mjd"] * u.d), entry["expected"], rtol=entry["rtol"])


def mean_over_gti(entry):
    model, inputs = make_entry(entry)
    reference = Time(inputs["mjd_ref"], format="mjd", scale="utc")
    gti = GTI.create(inputs["start_d"] * u.d, inputs["stop_d"] * u.d, reference_time=reference)
    return float(np.sum(model.integral(gti.time_start, gti.time_stop)))


def test_reference_integral():
    entry = ENTRIES["temporal.powerlaw_m1.int"]
    np.testing.assert_allclose(mean_over_gti(entry), entry["expected"], rtol=entry["rtol"])


def test_sine_integral_where_gammapy_differs():
    """Gammapy 2.1 integrates sin to -sin / omega; the integral is -cos / omega."""
    entry = ENTRIES["temporal.sine.int"]
    inputs = entry["inputs"]
    amp, omega = (inputs["parameters"][name][0] for name in ("amp", "omega"))
    start, stop = np.array(inputs["start_d"]), np.array(inputs["stop_d"])

    def mean(primitive):
        return np.sum(primitive(stop) - primitive(start)) / np.sum(stop - start)

    gammapy = mean(lambda t: t - amp / omega * np.sin(omega * t))
    np.testing.assert_allclose(gammapy, entry["expected"], rtol=entry["rtol"])
    exact = mean(lambda t: t - amp / omega * np.cos(omega * t))
    numeric = sum(
        quad(lambda t: 1 + amp * np.sin(omega * t), a, b)[0] for a, b in zip(start, stop, strict=True)
    ) / np.sum(stop - start)
    np.testing.assert_allclose(exact, numeric, rtol=1e-12)
    np.testing.assert_allclose(mean_over_gti(entry), exact, rtol=1e-9)


VALUES = {
    "LinearTemporalModel": [0.75, 0.9, 1.2],
    "ExpDecayTemporalModel": [np.exp(0.75), 1, np.exp(-1.5)],
    "PowerLawTemporalModel": [0, 0, 1.5**-0.7],
    "SineTemporalModel": [1 - 0.5 * np.sin(3), 1, 1 + 0.5 * np.sin(6)],
    "GaussianTemporalModel": [np.exp(-0.5 * (1.5 / 0.7) ** 2), 1, np.exp(-0.5 * (3 / 0.7) ** 2)],
    "GeneralizedGaussianTemporalModel": [np.exp(-0.5 * 3**2.5), 1, np.exp(-0.5 * 1.5**2.5)],
    "ConstantTemporalModel": [1, 1, 1],
}


@pytest.mark.parametrize("name", MAKE)
def test_closed_forms(name):
    np.testing.assert_allclose(MAKE[name]()(mjd([-1.5, 0, 3])).value, VALUES[name], rtol=1e-10)


# Integrals


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize(("start", "stop"), INTERVALS)
def test_integrals_are_those_of_the_values(name, start, stop):
    model = MAKE[name]()
    pure, values = model.pure(), model._values()

    def function(t):
        return float(pure.evaluate(np.float64(t * DAY), values, pure.arrays))

    low = max(start, 0) if name == "PowerLawTemporalModel" else start
    expected = 0.0
    if low < stop:
        points = [0] if low < 0 < stop else None
        expected = quad(function, low, stop, points=points, epsabs=1e-12, limit=300)[0]
    value = model.integral(mjd(start), mjd(stop)).value * (stop - start)
    rtol = 1e-6 if low == 0 else 1e-9  # of the quadrature, at the singularity of a power law
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("name", MAKE)
def test_integrals_are_shares_of_the_total_time(name):
    model = MAKE[name]()
    start, stop = mjd([0.5, 2, 5]), mjd([1, 4, 5.5])
    shares = model.integral(start, stop)
    alone = [float(model.integral(start[i], stop[i])) for i in range(3)]
    np.testing.assert_allclose(shares, np.array(alone) * [0.5, 2, 0.5] / 3, rtol=1e-9)
    assert shares.unit == ""
    np.testing.assert_allclose(model.time_sum(start, stop).to_value("d"), 3, rtol=1e-9)


@given(a=st.floats(-5, 5), b=st.floats(-5, 5), c=st.floats(-5, 5), name=st.sampled_from(sorted(MAKE)))
def test_integrals_add_up(a, b, c, name):
    low, mid, high = np.sort([a, b, c]) * DAY
    model = MAKE[name]()
    pure, values = model.pure(), model._values()
    first, second, both = (
        float(pure.integral(np.float64(x), np.float64(y), values, pure.arrays))
        for x, y in ((low, mid), (mid, high), (low, high))
    )
    np.testing.assert_allclose(first + second, both, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("eta", [0.05, 0.3, 0.5, 1, 2])
@pytest.mark.parametrize("stop", [0.3, 1, 3, 100, 1e5])
def test_generalized_gaussian_integral(eta, stop):
    """Against the incomplete gamma function."""
    from scipy.special import gamma, gammainc

    model = models.GeneralizedGaussianTemporalModel(eta=eta, t_rise="1 d", t_decay="1 d")
    value = model.pure().integral(0.0, stop * DAY, [0.0, DAY, DAY, eta], ()) / DAY
    expected = eta * 2**eta * gamma(eta) * gammainc(eta, 0.5 * stop ** (1 / eta))
    np.testing.assert_allclose(value, expected, rtol=1e-8)


def test_gaussian_tails_keep_their_digits():
    from scipy.special import log_ndtr

    model = models.GaussianTemporalModel(sigma="1 d", t_ref=REF)
    for sign in (-1, 1):
        bounds = sorted([sign * 20.0, sign * 60.0])
        value = model.pure().integral(bounds[0] * DAY, bounds[1] * DAY, [0.0, DAY], ()) / DAY
        np.testing.assert_allclose(np.log(value), log_ndtr(-20.0) + 0.5 * np.log(2 * np.pi), rtol=1e-12)


@given(alpha=st.floats(-1e-3, 1e-3), omega=st.floats(-1e-3, 1e-3))
def test_smooth_through_limits(alpha, omega):
    """A power law through alpha = -1 and a sine through omega = 0 join their series."""
    power = models.PowerLawTemporalModel(alpha=-1 + alpha, t_ref=REF)
    x = np.log(2.0)
    expected = x * (1 + alpha * x / 2 + (alpha * x) ** 2 / 6)
    np.testing.assert_allclose(power.integral(mjd(1), mjd(2)).value, expected, rtol=1e-9)
    sine = models.SineTemporalModel(amp=1, omega=omega * u.rad / u.d, t_ref=REF)
    np.testing.assert_allclose(sine.integral(mjd(1), mjd(2)).value, 1 + np.sin(1.5 * omega), rtol=1e-7)


# Derivatives


def scaled(name, kind):
    """Value or integral as a function of time(s) and parameters in days, which are of order 1."""
    model = MAKE[name]()
    pure, values = model.pure(), np.array(model._values())
    scale = np.array([p.engine_value / p.value if p.value else 1.0 for p in model.parameters])
    if pure.reference is not None:
        scale[pure.reference] = DAY
    n = 1 if kind == "evaluate" else 2

    def function(x):
        parameters = x[n:] * scale
        return getattr(pure, kind)(*(x[i] * DAY for i in range(n)), parameters, pure.arrays)

    return function, values / scale


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("kind", ["evaluate", "integral"])
@pytest.mark.parametrize("times", INTERVALS)
def test_derivatives(name, kind, times):
    function, parameters = scaled(name, kind)
    x = np.array([*(times if kind == "integral" else times[:1]), *parameters])
    value = function(x)
    unit = DAY if kind == "integral" else 1.0
    np.testing.assert_allclose(function(jnp.array(x)), value, rtol=1e-11, atol=1e-12 * unit)
    gradient, hessian = jax.grad(function)(jnp.array(x)), jax.hessian(function)(jnp.array(x))
    assert np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(hessian))
    step = 1e-5
    for i in range(len(x)):
        shift = step * np.eye(len(x))[i]
        difference = (function(x + shift) - function(x - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-6, atol=1e-7 * unit)
        up, down = (jax.grad(function)(jnp.array(x + s)) for s in (shift, -shift))
        np.testing.assert_allclose(hessian[i], (up - down) / (2 * step), rtol=1e-5, atol=1e-6 * unit)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("kind", ["evaluate", "integral"])
def test_derivatives_are_finite_at_the_reference_time(name, kind):
    function, parameters = scaled(name, kind)
    for times in ((0.0, 1.0), (-1.0, 0.0), (-1e4, 1e4), (0.0, 0.0)):
        if name == "ExpDecayTemporalModel" and times[0] < -1e3:
            continue  # exp(5000) has no number
        x = jnp.array([*(times if kind == "integral" else times[:1]), *parameters])
        for f in (function, jax.grad(function), jax.hessian(function)):
            assert np.all(np.isfinite(f(x)))


# Times


def test_time_scales():
    model = models.GaussianTemporalModel(scale="tt", t_ref=REF, sigma="60 s")
    assert model(Time(REF, format="mjd", scale="tt")) == 1
    # 66.184 s between TT and UTC then.
    value = model(Time(REF, format="mjd", scale="utc"))
    np.testing.assert_allclose(value, np.exp(-0.5 * (66.184 / 60) ** 2), rtol=1e-6)
    assert model(REF * u.d) == 1
    assert model.reference_time.scale == "tt"
    model.reference_time = Time(REF + 1, format="mjd", scale="tt")
    assert model.t_ref.value == REF + 1


def test_microseconds():
    """A float MJD resolves 0.6 μs; `Time` resolves nanoseconds, and so does the model."""
    model = models.ExpDecayTemporalModel(t0="1e-6 s", t_ref=REF)
    time = Time(REF, 1e-6 / DAY, format="mjd", scale="utc")
    np.testing.assert_allclose(model(time), np.exp(-1), rtol=1e-4)


def test_shapes():
    for name in MAKE:
        model = MAKE[name]()
        assert model(mjd(1.0)).shape == ()
        assert model(mjd([[1.0, 2], [3, 4]])).shape == (2, 2)
        assert model.integral(mjd([1.0, 3]), mjd([2.0, 5])).shape == (2,)


# Faces


@pytest.mark.parametrize("name", MAKE)
def test_yaml(name):
    model = MAKE[name]()
    model.scale = "tt"
    data = model.to_dict()
    assert data["scale"] == "tt"
    again = get_model_class("temporal", data["type"]).from_dict(data)
    assert again.to_dict() == data
    assert again(mjd(1.0)) == model(mjd(1.0))
    assert model.copy().scale == "tt"
    del data["scale"]
    assert type(model).from_dict(data).scale == "utc"


def test_bad_input():
    with pytest.raises(ModelError, match="unknown time scale 'gps'"):
        models.ConstantTemporalModel(scale="gps")
    with pytest.raises(UnitsError, match="expected a Time or an MJD"):
        models.LinearTemporalModel()(3 * u.m)
    with pytest.raises(ModelError, match="no reference time"):
        _ = models.ConstantTemporalModel().reference_time
    model = models.PowerLawTemporalModel(alpha=-1.5, t_ref=REF)
    with pytest.raises(ModelError, match="infinite"):
        model.integral(mjd(-1), mjd(1))
    assert np.isfinite(model.integral(mjd(0.1), mjd(1)))
    with pytest.raises(ModelError, match="must not be before"):
        model.integral(mjd(2), mjd(1))
    with pytest.raises(ModelError, match="temporal_model must be a TemporalModel"):
        models.SkyModel(models.PowerLawSpectralModel(), temporal_model=models.PointSpatialModel())
