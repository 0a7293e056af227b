"""Gradients and Hessians of every spectral model, in numpy and in JAX."""

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import villard.modeling.models as models
from villard._jax import jax, jnp
from villard.exceptions import ModelError
from villard.modeling.models import SpectralModel
from villard.modeling.models.core import _REGISTRY
from villard.modeling.models.spectral.core import order_for, spectral_function
from villard.modeling.parameter import Parameter


def make_ebl():
    z, energy = np.linspace(0, 1, 11), np.geomspace(0.01, 100, 60)
    tau = z[:, None] * energy[None, :] ** 0.7
    return models.EBLAbsorptionNormSpectralModel(energy * u.TeV, z, np.exp(-tau), redshift=0.33)


def make_naima():
    naima = pytest.importorskip("naima")
    particle = naima.models.PowerLaw(amplitude=2e33 / u.eV, e_0=10 * u.TeV, alpha=2.5)
    return models.NaimaSpectralModel(naima.models.PionDecay(particle, nh=1 / u.cm**3))


MAKE = {
    "ConstantSpectralModel": lambda: models.ConstantSpectralModel("4e-12 cm-2 s-1 TeV-1"),
    "ScaleSpectralModel": lambda: models.ScaleSpectralModel(
        models.PowerLawSpectralModel(index=2.2), norm=1.3
    ),
    "PowerLawSpectralModel": lambda: models.PowerLawSpectralModel(index=2.3),
    "PowerLawNormSpectralModel": lambda: models.PowerLawNormSpectralModel(tilt=0.2),
    "PowerLaw2SpectralModel": lambda: models.PowerLaw2SpectralModel(index=2.3),
    "BrokenPowerLawSpectralModel": lambda: models.BrokenPowerLawSpectralModel(
        index1=1.5, index2=2.5, ebreak="0.77 TeV"
    ),
    "SmoothBrokenPowerLawSpectralModel": lambda: models.SmoothBrokenPowerLawSpectralModel(
        index1=1.5, index2=2.5, beta=0.3
    ),
    "PiecewiseNormSpectralModel": lambda: models.PiecewiseNormSpectralModel(
        [0.1, 1.1, 20] * u.TeV, [1, 5, 3]
    ),
    "LogParabolaSpectralModel": lambda: models.LogParabolaSpectralModel(alpha=2.3, beta=0.2),
    "LogParabolaNormSpectralModel": lambda: models.LogParabolaNormSpectralModel(alpha=0.3, beta=0.2),
    "LogParabola2SpectralModel": lambda: models.LogParabola2SpectralModel(alpha=2.3, beta=0.2),
    "ExpCutoffPowerLawSpectralModel": lambda: models.ExpCutoffPowerLawSpectralModel(alpha=1.2),
    "ExpCutoffPowerLawNormSpectralModel": lambda: models.ExpCutoffPowerLawNormSpectralModel(index=0.3),
    "ExpCutoffPowerLaw3FGLSpectralModel": lambda: models.ExpCutoffPowerLaw3FGLSpectralModel(),
    "SuperExpCutoffPowerLaw3FGLSpectralModel": lambda: models.SuperExpCutoffPowerLaw3FGLSpectralModel(),
    "SuperExpCutoffPowerLaw4FGLSpectralModel": lambda: models.SuperExpCutoffPowerLaw4FGLSpectralModel(
        expfactor=1e-5, index_2=0.7
    ),
    "SuperExpCutoffPowerLaw4FGLDR3SpectralModel": lambda: models.SuperExpCutoffPowerLaw4FGLDR3SpectralModel(),
    "GaussianSpectralModel": lambda: models.GaussianSpectralModel(mean="1.3 TeV", sigma="0.7 TeV"),
    "TemplateSpectralModel": lambda: models.TemplateSpectralModel(
        [0.1, 1.1, 20] * u.TeV, [1, 0.5, 0.01] * u.Unit("cm-2 s-1 TeV-1")
    ),
    "CompoundSpectralModel": lambda: models.PowerLawSpectralModel(index=2.1) * make_ebl(),
    "EBLAbsorptionNormSpectralModel": make_ebl,
    "MeyerCrabSpectralModel": models.MeyerCrabSpectralModel,
    "NaimaSpectralModel": make_naima,
}

# Energies that are no node, break or table entry of the models above.
ENERGY = np.array([0.23, 0.9, 1.7, 6.3])
KINDS = ("evaluate", "integral", "energy_flux")


def test_every_model_is_here():
    models.load_all("spectral")
    package = "villard.modeling.models"
    known = {cls.__name__ for cls in _REGISTRY["spectral"].values() if cls.__module__.startswith(package)}
    known.discard("SpectralModel")
    assert known == set(MAKE)


def function_of(model, kind):
    pure = model.pure()
    energies = (ENERGY,) if kind == "evaluate" else (ENERGY, ENERGY * 1.4)
    function = spectral_function(pure, kind, order_for(energies))
    scale = np.array([abs(p.engine_value) or 1.0 for p in model.parameters])

    def scaled(theta):
        return function(*energies, theta * scale, pure.arrays)

    return scaled, np.array([p.engine_value for p in model.parameters]) / scale


def jax_function(model, kind):
    pure = model.pure()
    energies = (jnp.array(ENERGY),) if kind == "evaluate" else (jnp.array(ENERGY), jnp.array(ENERGY * 1.4))
    function = spectral_function(
        pure, kind, order_for((ENERGY,) if kind == "evaluate" else (ENERGY, ENERGY * 1.4))
    )
    scale = jnp.array([abs(p.engine_value) or 1.0 for p in model.parameters])
    arrays = tuple(jnp.asarray(a) for a in pure.arrays)
    return lambda theta: jnp.broadcast_to(function(*energies, theta * scale, arrays), ENERGY.shape)


# Integrals of a model that is called back from JAX are sums of its values: those are enough.
CASES = [
    (name, kind) for name in MAKE for kind in KINDS if name != "NaimaSpectralModel" or kind == "evaluate"
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_derivatives(name, kind):
    model = MAKE[name]()
    numeric, theta = function_of(model, kind)
    exact = jax_function(model, kind)
    value = np.broadcast_to(numeric(theta), ENERGY.shape)
    callback = name == "NaimaSpectralModel"
    np.testing.assert_allclose(exact(jnp.array(theta)), value, rtol=1e-12)
    gradient = np.asarray(jax.jacfwd(exact)(jnp.array(theta)))
    assert np.all(np.isfinite(gradient))
    step = 1e-5
    for i in range(len(theta)):
        shift = step * np.eye(len(theta))[i]
        difference = (numeric(theta + shift) - numeric(theta - shift)) / (2 * step)
        scale = np.max(np.abs(value))
        np.testing.assert_allclose(gradient[:, i], difference, rtol=1e-5, atol=2e-8 * scale)
    if not callback:
        check_hessian(exact, theta, np.max(np.abs(value)))


def check_hessian(exact, theta, scale, step=1e-5):
    hessian = np.asarray(jax.hessian(exact)(jnp.array(theta)))
    assert np.all(np.isfinite(hessian))
    jacobian = jax.jacfwd(exact)
    for i in range(len(theta)):
        shift = step * np.eye(len(theta))[i]
        difference = (jacobian(jnp.array(theta + shift)) - jacobian(jnp.array(theta - shift))) / (2 * step)
        np.testing.assert_allclose(hessian[:, :, i], difference, rtol=1e-4, atol=1e-6 * scale)


@pytest.mark.parametrize("lambda_", [0.0, -0.01, 1e-200])
def test_cutoff_at_and_below_zero(lambda_):
    """A fit that sees no cutoff passes through zero: value and derivatives stay finite there."""
    model = models.ExpCutoffPowerLawSpectralModel(lambda_=f"{lambda_} TeV-1")
    function = jax_function(model, "evaluate")
    theta = jnp.array(function_of(model, "evaluate")[1])
    for f in (function, jax.jacfwd(function), jax.hessian(function)):
        assert np.all(np.isfinite(f(theta)))


@given(b=st.floats(-3, 3), energy=st.floats(0.01, 100))
def test_super_exponential_series_joins(b, energy):
    """PLSuperExpCutoff4 agrees with its closed form, evaluated with more digits, on both branches."""
    mpmath = pytest.importorskip("mpmath")
    cls = models.SuperExpCutoffPowerLaw4FGLDR3SpectralModel
    value = cls.evaluate(energy, 1.0, 1.0, 0.3, 1.7, b)
    if abs(b) < 1e-25:
        b = 0.0  # the closed form would need more digits than the exponent has
    with mpmath.workdps(80):
        y, d, bb = mpmath.log(mpmath.mpf(energy)), mpmath.mpf(0.3), mpmath.mpf(b)
        exponent = (-mpmath.mpf(1.7) + d / bb) * y + d / bb**2 * (1 - mpmath.exp(bb * y)) if b != 0 else None
        if b == 0:
            exponent = -mpmath.mpf(1.7) * y - d * y**2 / 2
        expected = float(mpmath.exp(exponent))
    np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-300)


@given(index=st.floats(-3, 6), cut=st.floats(0.02, 0.98))
def test_integrals_add_up(index, cut):
    middle = 10 ** (-1 + 3 * cut)
    for model in (
        models.PowerLawSpectralModel(index=index),
        models.BrokenPowerLawSpectralModel(index1=index, index2=2.5, ebreak="0.7 TeV"),
        models.LogParabolaSpectralModel(alpha=index, beta=0.1, reference="1 TeV"),
    ):
        low, mid, high = 0.1 * u.TeV, middle * u.TeV, 100 * u.TeV
        total = model.integral(low, high)
        np.testing.assert_allclose(
            (model.integral(low, mid) + model.integral(mid, high)) / total, 1, rtol=1e-9
        )
        assert model.energy_flux(low, high) >= low * total * (1 - 1e-12)
        assert model.energy_flux(low, high) <= high * total * (1 + 1e-12)


@given(energy=st.floats(0.11, 99))
def test_inverse(energy):
    model = models.LogParabolaSpectralModel(alpha=2.3, beta=0.1, reference="1 TeV")
    np.testing.assert_allclose(model.inverse(model(energy * u.TeV)).to_value("TeV"), energy, rtol=1e-9)


def test_user_model_in_five_lines():
    class Parabola(SpectralModel):
        amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", is_norm=True)
        width = Parameter("width", 2.0)

        @staticmethod
        def evaluate(energy, amplitude, width):
            return amplitude * energy ** (-width)

    model = Parabola(width=2)
    np.testing.assert_allclose(model.integral("1 TeV", "10 TeV").value, 9e-13, rtol=1e-9)
    model.width.error = 0.1
    # d(flux)/d(width) at 2 TeV is -ln(2) times the flux.
    value, errn, errp = model.evaluate_error(2 * u.TeV)
    np.testing.assert_allclose([errn / value, errp / value], np.log(2) * 0.1, rtol=1e-12)


class NumpyOnly(SpectralModel):
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", is_norm=True)
    index = Parameter("index", 2.0)

    @staticmethod
    def evaluate(energy, amplitude, index):
        return amplitude * np.exp(-index * np.log(np.asarray(energy)))


class NumpyCalledBack(NumpyOnly):
    traceable = False


def test_numpy_only_model_says_what_to_do():
    model = NumpyOnly()
    model.index.error = 0.1
    with pytest.raises(ModelError, match="traceable = False"):
        model.evaluate_error(2 * u.TeV)


def test_numpy_model_called_back():
    model = NumpyCalledBack()
    model.index.error = 0.1
    value, errn, _ = model.evaluate_error(2 * u.TeV)
    np.testing.assert_allclose(errn / value, np.log(2) * 0.1, rtol=1e-7)
    function = jax_function(model, "evaluate")
    theta = jnp.array(function_of(model, "evaluate")[1])
    hessian = np.asarray(jax.hessian(function)(theta))
    reference = jax_function(models.PowerLawSpectralModel(), "evaluate")
    expected = np.asarray(jax.hessian(reference)(jnp.ones(3)))[:, :2, :2][:, ::-1, ::-1]
    np.testing.assert_allclose(hessian, expected, rtol=1e-5, atol=1e-18)
