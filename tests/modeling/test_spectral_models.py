"""What holds for every spectral model: derivatives, integrals, errors and YAML."""

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import villard.modeling.models as models
from villard._jax import jax, jnp
from villard.exceptions import ModelError
from villard.maps import MapAxis, RegionNDMap
from villard.modeling.models import Models, SkyModel, SpectralModel
from villard.modeling.models.core import _REGISTRY
from villard.modeling.models.spectral.core import closed_form
from villard.modeling.models.spectral.quadrature import integrate
from villard.modeling.parameter import Parameter


def make_ebl():
    z, energy = np.linspace(0, 1, 11), np.geomspace(0.01, 100, 60)
    tau = z[:, None] * energy[None, :] ** 0.7
    return models.EBLAbsorptionNormSpectralModel(energy * u.TeV, z, np.exp(-tau), redshift=0.33)


def make_table_nd():
    energy = MapAxis.from_nodes([0.1, 1.1, 20], unit="TeV", name="energy_true", interp="log")
    mass = MapAxis.from_nodes([1, 2, 5], unit="TeV", name="mass", interp="log")
    tilt = MapAxis.from_nodes([0, 1], name="tilt")
    table = RegionNDMap.create(None, axes=[energy, mass, tilt], unit="TeV-1 cm-2 s-1")
    table.data = np.random.default_rng(0).uniform(0.5, 1, table.data.shape)
    model = models.TemplateNDSpectralModel(table)
    # No point of the table, where the derivative jumps.
    model.mass.value, model.tilt.value = 1.4, 0.3
    return model


def make_broken():
    return models.BrokenPowerLawSpectralModel(index1=1.5, index2=2.5, ebreak="0.77 TeV")


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
    "BrokenPowerLawSpectralModel": make_broken,
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
    "SuperExpCutoffPowerLawSpectralModel": lambda: models.SuperExpCutoffPowerLawSpectralModel(index_2=0.8),
    "SuperExpCutoffPowerLaw2SpectralModel": lambda: models.SuperExpCutoffPowerLaw2SpectralModel(
        expfactor=1e-5
    ),
    "SuperExpCutoffPowerLaw3SpectralModel": lambda: models.SuperExpCutoffPowerLaw3SpectralModel(),
    "EBLCutoffPowerLawSpectralModel": lambda: models.EBLCutoffPowerLawSpectralModel(
        ebreak="0.77 TeV", p2=0.1, p3=0.05
    ),
    "EBLCutoffBrokenPowerLawSpectralModel": lambda: models.EBLCutoffBrokenPowerLawSpectralModel(
        index1=1.6, index2=2.7, ebreak="0.77 TeV", eabs="2.1 TeV", p1="3 TeV"
    ),
    "BandSpectralModel": lambda: models.BandSpectralModel(
        alpha=-1.3, beta=-2.6, efold="0.9 TeV", reference="1 TeV", amplitude="1e-12 cm-2 s-1 TeV-1"
    ),
    "GaussianSpectralModel": lambda: models.GaussianSpectralModel(mean="1.3 TeV", sigma="0.7 TeV"),
    "TemplateSpectralModel": lambda: models.TemplateSpectralModel(
        [0.1, 1.1, 20] * u.TeV, [1, 0.5, 0.01] * u.Unit("cm-2 s-1 TeV-1")
    ),
    "TemplateNDSpectralModel": make_table_nd,
    "LogGaussianSpectralModel": models.LogGaussianSpectralModel,
    "CompoundSpectralModel": lambda: models.PowerLawSpectralModel(index=2.1) * make_ebl(),
    "CompoundSpectralModel, sum": lambda: models.PowerLawSpectralModel(index=2.1) + make_broken(),
    "CompoundSpectralModel, with a break": lambda: (
        make_broken() * models.ExpCutoffPowerLawNormSpectralModel(index=0.3)
    ),
    "PiecewiseNormSpectralModel, lin": lambda: models.PiecewiseNormSpectralModel(
        [0.1, 1.1, 20] * u.TeV, [1, 5, -3], interp="lin"
    ),
    "TemplateSpectralModel, lin": lambda: models.TemplateSpectralModel(
        [0.1, 1.1, 5] * u.TeV,
        [1, -0.01, 1] * u.Unit("cm-2 s-1 TeV-1"),
        interp_kwargs={"values_scale": "lin", "fill_value": 1},
    ),
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
    assert known == {name.split(",")[0] for name in MAKE}


def pure_function(model, kind, xp=np):
    """What the likelihood evaluates: a closed form, or its own quadrature."""
    pure = model.pure()
    function = closed_form(pure, kind)
    arrays = tuple(xp.asarray(a) for a in pure.arrays)
    energies = [xp.asarray(ENERGY)] if kind == "evaluate" else [xp.asarray(ENERGY), xp.asarray(ENERGY * 1.4)]
    values = np.array([p.engine_value for p in model.parameters])
    # Derivatives by parameters in units of their own size.
    scale = np.where(values == 0, 1.0, np.abs(values))
    power = {"evaluate": 0, "integral": 0, "energy_flux": 1}[kind]

    def scaled(theta):
        parameters = theta * xp.asarray(scale)
        if function is not None:
            result = function(*energies, parameters, arrays)
        else:
            result = integrate(lambda e: pure.evaluate(e, parameters, arrays) * e**power, *energies, 8)
        return xp.broadcast_to(result, ENERGY.shape)

    return scaled, xp.asarray(values / scale)


def differences(function, theta, i, step):
    """Derivative by parameter i, central and of fourth order."""
    shift = step * np.eye(len(theta))[i]
    outer, inner = (function(theta + k * shift) - function(theta - k * shift) for k in (2, 1))
    return (8 * inner - outer) / (12 * step)


def has_own_code(name, kind):
    """Energy fluxes without closed form are sums of values, and so are all integrals of slow models."""
    if kind == "evaluate":
        return True
    model = MAKE[name]()
    return model.traceable and (kind == "integral" or model.pure().energy_flux is not None)


CASES = [(name, kind) for name in MAKE for kind in KINDS]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_derivatives(name, kind):
    """Values of numpy and JAX are the same, gradients and Hessians are those of finite differences."""
    if not has_own_code(name, kind):
        return
    model = MAKE[name]()
    numeric, theta = pure_function(model, kind)
    exact, theta_jax = pure_function(model, kind, jnp)
    compiled = jax.jit(lambda t: (exact(t), jax.jacfwd(exact)(t), jax.hessian(exact)(t)))
    traced, gradient, hessian = (np.asarray(a) for a in compiled(theta_jax))
    value = numeric(theta)
    size = np.max(np.abs(value))
    np.testing.assert_allclose(traced, value, rtol=1e-12, atol=1e-15 * size)
    assert np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(hessian))
    free = range(len(theta)) if model.traceable else np.flatnonzero([not p.frozen for p in model.parameters])
    for i in free:
        np.testing.assert_allclose(
            gradient[:, i], differences(numeric, theta, i, 1e-3), rtol=1e-7, atol=1e-9 * size
        )
        difference = differences(lambda t: np.asarray(compiled(t)[1]), theta, i, 1e-3)
        np.testing.assert_allclose(hessian[:, :, i], difference, rtol=1e-6, atol=1e-8 * size)


@pytest.mark.parametrize("name", [name for name in MAKE if name != "NaimaSpectralModel"])
def test_integrals_are_right(name):
    """Integrals over all bins at once agree with many small steps, across every break."""
    model = MAKE[name]()
    energy = np.geomspace(0.05, 30, 7) * u.TeV
    fine = np.geomspace(0.05, 30, 6 * 2000 + 1) * u.TeV
    for integral, power in ((model.integral, 0), (model.energy_flux, 1)):
        middle = np.sqrt(fine[1:] * fine[:-1])
        log_step = np.log(fine[1] / fine[0])
        values = [(model(e) * e ** (power + 1)).value for e in (fine[:-1], middle, fine[1:])]
        simpson = (values[0] + 4 * values[1] + values[2]) * log_step / 6
        expected = simpson.reshape(6, 2000).sum(axis=1)
        unit = model.flux_unit * u.TeV ** (power + 1)
        # Simpson's rule itself is wrong by the square of its step in the step that has the break.
        np.testing.assert_allclose(
            integral(energy[:-1], energy[1:]).to_value(unit),
            expected,
            rtol=2e-7,
            atol=1e-9 * np.max(np.abs(expected)),
        )


# Tables have no parameters, and naima is too slow to draw from.
DRAWN = [name for name in MAKE if not name.startswith(("TemplateSpectral", "Naima"))]


@pytest.mark.parametrize("name", DRAWN)
def test_errors_by_both_methods(name):
    """For errors that are small compared to the curvature, draws agree with exact derivatives."""
    model = MAKE[name]()
    for parameter in model.parameters:
        parameter.error = 1e-4 * (abs(parameter.value) or 1)
    bounds = (ENERGY * u.TeV, 1.4 * ENERGY * u.TeV)
    for function, arguments in (
        (model.evaluate_error, bounds[:1]),
        (model.integral_error, bounds),
        (model.energy_flux_error, bounds),
    ):
        linear = function(*arguments)
        drawn = function(*arguments, n_samples=4000, random_state=0)
        assert linear.shape == drawn.shape == (3, len(ENERGY))
        assert linear.unit == drawn.unit
        np.testing.assert_allclose(drawn[0].value, linear[0].value, rtol=2e-3)
        for error in drawn[1:]:
            np.testing.assert_allclose(error.value, linear[1].value, rtol=0.08)


@pytest.mark.parametrize("name", list(MAKE))
def test_yaml_round_trip(name, tmp_path):
    model = MAKE[name]()
    if name == "NaimaSpectralModel":
        with pytest.raises(ModelError, match="YAML"):
            model.to_dict()
        return
    if name == "TemplateNDSpectralModel":
        with pytest.raises(ModelError, match="write"):
            model.to_dict()
        model.write(filename=tmp_path / "table.fits")
    if model.flux_unit == u.dimensionless_unscaled:
        # A factor makes a source only together with a spectrum.
        model = models.PowerLawSpectralModel(index=2.2) * model
    for i, parameter in enumerate(model.parameters):
        parameter.error = 0.01 * (i + 1) * (abs(parameter.value) or 1)
        parameter.frozen = i % 2 == 1
    sources = Models([SkyModel(model, name="source")])
    n = len(model.parameters)
    errors = np.array([p.error for p in model.parameters])
    sources.covariance = np.outer(errors, errors) * (0.9 * np.eye(n) + 0.1)
    sources.write(tmp_path / "models.yaml")
    read = Models.read(tmp_path / "models.yaml")
    again = read["source"].spectral_model
    assert type(again) is type(model)
    assert read.to_yaml() == sources.to_yaml()
    energy = np.geomspace(0.01, 100, 20) * u.TeV
    np.testing.assert_array_equal(again(energy).value, model(energy).value)
    assert again(energy).unit == model(energy).unit
    np.testing.assert_allclose(read.covariance.data, sources.covariance.data, rtol=1e-12)
    copied = model.copy()
    for parameter in copied.parameters:
        parameter.value += 1e-3
    assert [p.value for p in model.parameters] == [p.value for p in again.parameters]


@pytest.mark.parametrize("lambda_", [0.0, -0.01, 1e-200])
def test_cutoff_at_and_below_zero(lambda_):
    """A fit that sees no cutoff passes through zero: value and derivatives stay finite there."""
    model = models.ExpCutoffPowerLawSpectralModel(lambda_=f"{lambda_} TeV-1")
    function, theta = pure_function(model, "evaluate", jnp)
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
    np.testing.assert_allclose(errn / value, np.log(2) * 0.1, rtol=1e-10)
    function, theta = pure_function(model, "evaluate", jnp)
    hessian = np.asarray(jax.hessian(function)(theta))
    reference, _ = pure_function(models.PowerLawSpectralModel(), "evaluate", jnp)
    expected = np.asarray(jax.hessian(reference)(jnp.ones(3)))[:, :2, :2][:, ::-1, ::-1]
    np.testing.assert_allclose(hessian, expected, rtol=1e-8, atol=1e-19)
