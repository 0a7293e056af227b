"""Light curves and phase curves given as tables, and sky models with dependence on time."""

from itertools import pairwise

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from villard._jax import jax, jnp
from villard.data import GTI
from villard.exceptions import DataError, FileFormatError, ModelError, OverwriteError, UnitsError
from villard.maps import MapAxis, RegionGeom, RegionNDMap, WcsGeom
from villard.modeling.models import (
    ConstantTemporalModel,
    ExpDecayTemporalModel,
    GaussianSpatialModel,
    LightCurveTemplateTemporalModel,
    LinearTemporalModel,
    Models,
    PowerLawSpectralModel,
    SkyModel,
    TemplatePhaseCurveTemporalModel,
)

REFERENCE = Time(55555, format="mjd", scale="utc")
META = {"MJDREFI": 55555, "MJDREFF": 0.0, "TIMESYS": "utc"}
AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")


def table(times=(0, 1, 2, 4), norms=(1.0, 3.0, 2.0, 0.5)):
    return Table({"TIME": np.array(times, dtype=float) * u.d, "NORM": norms}, meta=META)


def cube():
    """Light curve over time and energy, with Gammapy's values below."""
    time = MapAxis.from_nodes([0.0, 1, 2, 4], name="time", unit="d")
    energy = MapAxis.from_nodes([1.0, 10, 100], name="energy", unit="TeV", interp="log")
    result = RegionNDMap.create(None, axes=[time, energy])
    result.data = np.arange(1, 13.0).reshape(3, 4, 1, 1)
    return result


def mjd(days):
    return (55555 + np.asarray(days)) * u.d


# Light curves


def test_light_curve():
    model = LightCurveTemplateTemporalModel.from_table(table())
    # Within the table as Gammapy 2.1 gives them.
    found = model(mjd([0, 0.5, 1, 1.7, 3, 4]))
    np.testing.assert_allclose(found.value, [1, 2, 3, 2.3, 1.25, 0.5])
    np.testing.assert_allclose(model(mjd([-5, 9])).value, [1, 0.5])
    assert model.reference_time.mjd == 55555
    assert model.t_ref.frozen
    assert not model.is_energy_dependent
    model.t_ref.value = 55556
    np.testing.assert_allclose(model(mjd([1.5])).value, 2)


@pytest.mark.parametrize("values_scale", ["lin", "log"])
@given(
    start=st.floats(-3, 8),
    length=st.floats(1e-3, 9),
    norms=st.lists(st.floats(0.01, 5), min_size=4, max_size=4),
)
def test_integrals_of_light_curves(values_scale, start, length, norms):
    times = [0, 1, 2, 4]
    base = LightCurveTemplateTemporalModel.from_table(table(times, norms))
    model = LightCurveTemplateTemporalModel(base.map, t_ref=REFERENCE, values_scale=values_scale)
    found = model.integral(mjd(start), mjd(start + length)).value
    cuts = np.unique([start, start + length, *[t for t in times if start < t < start + length]])
    nodes, weights = np.polynomial.legendre.leggauss(20)
    total = 0.0
    for low, high in pairwise(cuts):
        at = low + (high - low) * (nodes + 1) / 2
        inner = np.interp(at, times, norms if values_scale == "lin" else np.log(norms))
        total += np.sum(weights * (inner if values_scale == "lin" else np.exp(inner))) * (high - low) / 2
    np.testing.assert_allclose(found, total / length, rtol=1e-6)


def test_real_light_curve(gammapy_data):
    path = "$GAMMAPY_DATA/tests/models/light_curve/lightcrv_PKSB1222+216.fits"
    model = LightCurveTemplateTemporalModel.read(path)
    # The file is in TT; values as Gammapy 2.1 gives them.
    assert model.t_ref.value == pytest.approx(59000.49919925926, abs=1e-9)
    time = model.reference_time + [0, 0.1, 0.5, 1, 10] * u.d
    expected = [0.01551196, 0.01657195, 0.0208119, 0.02611184, 0.02338616]
    np.testing.assert_allclose(model(time).value, expected, rtol=1e-6)
    new = Models.from_yaml(Models([SkyModel(PowerLawSpectralModel(), None, model, name="a")]).to_yaml())["a"]
    assert new.temporal_model.filename == path
    np.testing.assert_allclose(new.temporal_model(time).value, model(time).value)


def test_light_curve_of_energies():
    model = LightCurveTemplateTemporalModel(cube(), t_ref=REFERENCE)
    assert model.is_energy_dependent
    assert model.values_scale == "log"
    # Gammapy 2.1.
    points = {(0.5, 1): 1.414213562373095, (0.5, 3.1622776): 2.783157652573845, (3, 1): 3.464101615137755}
    for (day, energy), value in points.items():
        np.testing.assert_allclose(model(mjd(day), energy * u.TeV).value, value, rtol=1e-7)
    expected = [[1.41421356, 2.44948974], [2.69826168, 3.89657234], [5.47722558, 6.4807407]]
    found = model(mjd([0.5, 1.5]), np.array([1, 3, 10])[:, None] * u.TeV)
    np.testing.assert_allclose(found.value, expected, rtol=1e-8)
    lin = LightCurveTemplateTemporalModel(cube(), t_ref=REFERENCE, values_scale="lin")
    np.testing.assert_allclose(lin(mjd(0.5), 10**0.5 * u.TeV).value, 3.5)
    integral = model.integral(mjd([0.5, 2]), mjd([1.2, 3]), energy=[1, 3] * u.TeV)
    assert integral.shape == (2, 2)
    days = np.linspace(0.5, 1.2, 20001)
    numeric = np.trapezoid(model(mjd(days), 3 * u.TeV).value, days) / 1.7
    np.testing.assert_allclose(integral[1, 0].value, numeric, rtol=1e-7)


def test_wrong_use_of_light_curves():
    model = LightCurveTemplateTemporalModel(cube(), t_ref=REFERENCE)
    with pytest.raises(ModelError, match="depends on energy, which is missing"):
        model(mjd(1))
    with pytest.raises(ModelError, match="depends on energy, which is missing"):
        model.integral(mjd(1), mjd(2))
    with pytest.raises(UnitsError, match="expected an energy, found m"):
        model(mjd(1), 3 * u.m)
    with pytest.raises(ModelError, match="can't be part of a fit"):
        model.pure().evaluate(0.0, [0.0], ())
    with pytest.raises(ModelError, match="is no table"):
        model.to_table()
    with pytest.raises(ModelError, match="no argument 'oversampling'"):
        model.integral(mjd(1), mjd(2), oversampling=3)
    flat = LightCurveTemplateTemporalModel.from_table(table())
    assert flat.integral(mjd(1), mjd(2), oversampling_factor=100) == 2.5
    with pytest.raises(ModelError, match="no filename"):
        flat.write()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"map": 3}, "expected a map, found int"),
        ({"map": RegionNDMap.create(None, axes=[AXIS])}, "an axis 'time'"),
        ({"map": cube() * -1}, "aren't negative"),
        ({"map": cube() * np.nan}, "has holes"),
        ({"map": cube(), "method": "nearest"}, "'linear', found 'nearest'"),
        ({"map": cube(), "values_scale": "sqrt"}, "'lin' or 'log'"),
    ],
)
def test_light_curves_that_are_none(arguments, match):
    with pytest.raises(ModelError, match=match):
        LightCurveTemplateTemporalModel(**arguments)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.remove_column("NORM"), "expected columns TIME and NORM"),
        (lambda t: t.meta.pop("MJDREFI"), "reference time, MJDREFI"),
        (lambda t: t.meta.update(TIMESYS="moon"), "not a reference time"),
        (lambda t: t.reverse(), "TIME isn't one of a light curve"),
    ],
)
def test_tables_that_are_no_light_curves(change, match):
    damaged = table()
    change(damaged)
    with pytest.raises(FileFormatError, match=f"a.fits: .*{match}"):
        LightCurveTemplateTemporalModel.from_table(damaged, filename="a.fits")


@pytest.mark.parametrize("kind", ["table", "map"])
def test_files_of_light_curves(tmp_path, kind):
    if kind == "table":
        model, energy = LightCurveTemplateTemporalModel.from_table(table()), None
    else:
        model, energy = LightCurveTemplateTemporalModel(cube(), t_ref=REFERENCE), 3 * u.TeV
    Models([SkyModel(PowerLawSpectralModel(), None, model, name="a")]).write(tmp_path / "m.yaml")
    new = Models.read(tmp_path / "m.yaml")["a"].temporal_model
    assert new.filename == str(tmp_path / "m_a.fits")
    assert new.to_dict()["format"] == kind
    time = mjd([0.3, 1.7, 3])
    np.testing.assert_allclose(new(time, energy).value, model(time, energy).value, rtol=1e-12)
    with pytest.raises(OverwriteError, match=r"m_a\.fits"):
        new.write()
    with pytest.raises(ModelError, match="'table' or 'map'"):
        new.write(overwrite=True, format="x")
    with pytest.raises(ModelError, match="'table' or 'map'"):
        LightCurveTemplateTemporalModel.read(new.filename, format="x")
    with pytest.raises(DataError, match=r"no\.fits"):
        LightCurveTemplateTemporalModel.read(tmp_path / "no.fits")


def test_derivatives_of_light_curves():
    model = LightCurveTemplateTemporalModel.from_table(table())
    pure = model.pure()
    arrays = tuple(jnp.asarray(a) for a in pure.arrays)

    def integral(t_ref):
        return pure.integral(0.3 * 86400, 3.1 * 86400, jnp.array([t_ref]), arrays)

    gradient = jax.jit(jax.grad(integral))(0.1 * 86400)
    difference = (integral(0.1 * 86400 + 1) - integral(0.1 * 86400 - 1)) / 2
    np.testing.assert_allclose(gradient, difference, rtol=1e-6)


# Phase curves


def test_real_phase_curve(gammapy_data):
    """Values as Gammapy 2.1 gives them."""
    path = "$GAMMAPY_DATA/tests/phasecurve_LSI_DC.fits"
    model = TemplatePhaseCurveTemporalModel.read(path, t_ref=43366.275 * u.d, f0="4.367575e-7 s-1")
    np.testing.assert_allclose(
        model([56000, 56001.3, 56010.7] * u.d).value, [0.88860903, 0.4606386, 0.29411765], rtol=1e-6
    )
    days = 3 * np.array([0, 0.02, 0.05, 0.1, 0.43, 0.5, 0.95, 0.98, 1])
    arguments = {"phi_ref": 0.2, "f0": 1 / 86400, "f1": 1e-11, "f2": 1e-17, "t_ref": 50000 * u.d}
    model = TemplatePhaseCurveTemporalModel.read(path, **arguments)
    expected = [0.29411765, 0.29411765, 0.29411765, 0.92221477, 1.66557906]
    expected += [0.47762126, 0.29411765, 0.76397148, 2.13001314]
    np.testing.assert_allclose(model((50000 + days) * u.d).value, expected, rtol=1e-6)
    plain = TemplatePhaseCurveTemporalModel.read(path, normalize=False, **arguments)
    np.testing.assert_allclose(plain(50000 * u.d) / model(50000 * u.d), 0.17)
    assert model.table["NORM"][0] == pytest.approx(0.05 / 0.17)
    new = Models.from_yaml(Models([SkyModel(PowerLawSpectralModel(), None, plain, name="a")]).to_yaml())["a"]
    np.testing.assert_allclose(new.temporal_model(50001.2 * u.d).value, plain(50001.2 * u.d).value)
    assert new.temporal_model.f1.quantity == 1e-11 / u.s**2


PHASES = Table({"PHASE": [0.05, 0.3, 0.4, 0.9], "NORM": [1.0, 0.2, 4.0, 2.0]})


@given(start=st.floats(-3, 3), length=st.floats(0.01, 5), phi=st.floats(-2, 2), f0=st.floats(0.2, 3))
def test_integrals_of_phase_curves(start, length, phi, f0):
    model = TemplatePhaseCurveTemporalModel(PHASES, t_ref=REFERENCE, phi_ref=phi, f0=f0 / u.d)
    found = model.integral(mjd(start), mjd(start + length)).value
    days = np.linspace(start, start + length, 40001)
    numeric = np.trapezoid(model(mjd(days)).value, days) / length
    np.testing.assert_allclose(found, numeric, rtol=2e-4)


def test_phase_curves_that_slow_down():
    model = TemplatePhaseCurveTemporalModel(PHASES, t_ref=REFERENCE, f0="2 d-1", f1="-0.04 d-2")
    days = np.linspace(0.4, 9.7, 400001)
    numeric = np.trapezoid(model(mjd(days)).value, days) / 9.3
    np.testing.assert_allclose(model.integral(mjd(0.4), mjd(9.7)).value, numeric, rtol=1e-4)


def test_mean_of_a_pulsar():
    """Over years of a pulsar the mean is that of the phase curve, to rounding."""
    model = TemplatePhaseCurveTemporalModel(PHASES, t_ref=REFERENCE, f1="-3.7e-10 s-2")
    np.testing.assert_allclose(model.integral(mjd(0), mjd(1000)).value, 1, rtol=1e-9)
    ends = Table({"PHASE": [0, 0.5, 1.0], "NORM": [1.0, 3.0, 1.0]})
    model = TemplatePhaseCurveTemporalModel(ends, normalize=False)
    np.testing.assert_allclose(model.integral(mjd(0), mjd(1000)).value, 2, rtol=1e-9)


def test_phase():
    model = TemplatePhaseCurveTemporalModel(PHASES, t_ref=REFERENCE, phi_ref=0.25, f0="0.5 d-1")
    np.testing.assert_allclose(model.phase(mjd([0, 1, 1.5, 2, -1])), [0.25, 0.75, 0, 0.25, 0.75], atol=1e-9)
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    assert model.plot_phasogram(n_points=7).lines[0].get_xdata().shape == (7,)
    plt.close("all")


def test_files_of_phase_curves(tmp_path):
    model = TemplatePhaseCurveTemporalModel(PHASES, t_ref=REFERENCE, f0="0.5 d-1")
    Models([SkyModel(PowerLawSpectralModel(), None, model, name="a")]).write(tmp_path / "m.yaml")
    new = Models.read(tmp_path / "m.yaml")["a"].temporal_model
    np.testing.assert_allclose(new(mjd([0.3, 1.1])).value, model(mjd([0.3, 1.1])).value)
    with pytest.raises(OverwriteError):
        new.write()
    with pytest.raises(ModelError, match="no filename"):
        TemplatePhaseCurveTemporalModel(PHASES).write()


@pytest.mark.parametrize(
    ("phase", "norm", "match"),
    [
        ([0.1], [1.0], "two or more increasing phases"),
        ([0.3, 0.1], [1.0, 1.0], "increasing"),
        ([0.1, 1.3], [1.0, 1.0], "one period"),
        ([0.0, 1.0], [1.0, 2.0], "the two ends of the period differ"),
        ([0.0, 0.5], [1.0, -2.0], "not negative"),
        ([0.0, np.nan], [1.0, 2.0], "finite"),
        ([0.0, 0.5], [0.0, 0.0], "can't be normalised"),
    ],
)
def test_tables_that_are_no_phase_curves(phase, norm, match):
    with pytest.raises(ModelError, match=f"of a.fits: .*{match}"):
        TemplatePhaseCurveTemporalModel(Table({"PHASE": phase, "NORM": norm}), filename="a.fits")
    with pytest.raises(FileFormatError, match="PHASE and NORM"):
        TemplatePhaseCurveTemporalModel(Table({"PHASE": phase}))


# Plots and samples


@pytest.mark.parametrize(
    "model",
    [
        ExpDecayTemporalModel(t0="2 d", t_ref=55555 * u.d),
        LightCurveTemplateTemporalModel.from_table(table()),
        TemplatePhaseCurveTemporalModel(PHASES, t_ref=REFERENCE, f0="0.5 d-1"),
    ],
    ids=lambda m: type(m).__name__,
)
def test_samples(model):
    """Drawn times follow the distribution function, by the test of Kolmogorov and Smirnov."""
    from scipy.stats import kstest

    start, stop = REFERENCE + 0.3 * u.d, REFERENCE + 3.8 * u.d
    times = model.sample_time(2000, start, stop, t_delta="60 s", random_state=3)
    assert times.shape == (2000,)
    total = model.integral(start, stop).value

    def distribution(days):
        parts = [model.integral(start, REFERENCE + day * u.d).value * (day - 0.3) for day in days]
        return np.array(parts) / (total * 3.5)

    days = np.sort((times - REFERENCE).to_value("d"))[::20]
    assert kstest(days, distribution).pvalue > 1e-3
    same = model.sample_time(5, mjd(0.3), mjd(3.8), t_delta="60 s", random_state=3)
    np.testing.assert_allclose((same - start).to_value("s") >= 0, True)


def test_samples_that_are_none():
    falling = LinearTemporalModel(alpha=1, beta="-1 d-1", t_ref=55555 * u.d)
    with pytest.raises(ModelError, match="negative, or zero"):
        falling.sample_time(3, mjd(0), mjd(3))
    with pytest.raises(ModelError, match="expected a number of events, found -1"):
        falling.sample_time(-1, mjd(0), mjd(1))
    with pytest.raises(ModelError, match="expected one interval, found 2"):
        falling.sample_time(3, mjd([0, 1]), mjd([1, 2]))
    with pytest.raises(ModelError, match="not for models that depend on energy"):
        LightCurveTemplateTemporalModel(cube(), t_ref=REFERENCE).sample_time(3, mjd(0), mjd(1))


def test_plots():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    ax = LinearTemporalModel(t_ref=55555 * u.d).plot((REFERENCE, REFERENCE + 2 * u.d), n_points=5)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), 55555 + np.linspace(0, 2, 5))
    plt.figure()
    curve = LightCurveTemplateTemporalModel(cube(), t_ref=REFERENCE)
    ax = curve.plot((mjd(0), mjd(2)), energy=[1, 10] * u.TeV)
    assert len(ax.lines) == 2
    assert ax.get_legend() is not None
    plt.close("all")


# Sky models


def gti(start, stop):
    return GTI.create(np.array(start) * u.d, np.array(stop) * u.d, reference_time=REFERENCE)


def test_temporal_factor():
    source = SkyModel(PowerLawSpectralModel(), name="a")
    assert source.temporal_factor(None) == 1
    source.temporal_model = ConstantTemporalModel()
    assert source.temporal_factor(gti([0, 5], [1, 7])) == pytest.approx(1)
    source.temporal_model = LinearTemporalModel(alpha=1, beta="1 d-1", t_ref=55555 * u.d)
    # Weighted with the durations of the intervals.
    assert source.temporal_factor(gti([0, 5], [1, 7])) == pytest.approx((1.5 * 1 + 7 * 2) / 3)
    source.temporal_model = ExpDecayTemporalModel(t0="2 d", t_ref=55555 * u.d)
    assert source.temporal_factor(gti([0], [4])) == pytest.approx((1 - np.exp(-2)) / 2)
    with pytest.raises(ModelError, match="'a': its temporal model needs good time intervals"):
        source.temporal_factor(None)
    curve = LightCurveTemplateTemporalModel(cube(), t_ref=REFERENCE)
    source.temporal_model = curve
    found = source.temporal_factor(gti([0.5], [1.2]), energy=[1, 3] * u.TeV)
    np.testing.assert_allclose(found, curve.integral(mjd(0.5), mjd(1.2), energy=[1, 3] * u.TeV).value)


def test_flux_on_maps():
    source = SkyModel(
        PowerLawSpectralModel(index=2.3),
        GaussianSpatialModel(sigma=0.1),
        LinearTemporalModel(alpha=1, beta="1 d-1", t_ref=55555 * u.d),
        name="a",
    )
    geom = WcsGeom.create(npix=40, binsz=0.05, skydir=(0, 0), axes=[AXIS])
    flux = source.integrate_geom(geom)
    assert flux.data.shape == geom.data_shape
    expected = source.spectral_model.integral(AXIS.edges[:-1], AXIS.edges[1:])
    np.testing.assert_allclose(
        flux.quantity.sum(axis=(1, 2)).to_value(expected.unit), expected.value, rtol=1e-5
    )
    later = source.integrate_geom(geom, gti([1], [2]))
    np.testing.assert_allclose(later.data, 2.5 * flux.data, rtol=1e-9)
    brightness = source.evaluate_geom(geom, gti([1], [2]))
    center = 2.5 * source.spectral_model(AXIS.center[1]) * source.spatial_model(0.025 * u.deg, 0.025 * u.deg)
    np.testing.assert_allclose(brightness[1, 20, 19].to_value(center.unit), center.value)
    moment = source.evaluate(0 * u.deg, 0 * u.deg, 1 * u.TeV, REFERENCE + 1 * u.d)
    np.testing.assert_allclose(moment / source.evaluate(0 * u.deg, 0 * u.deg, 1 * u.TeV), 2)
    with pytest.raises(ModelError, match="geometry with energies"):
        source.integrate_geom(geom.to_image())
    spectrum = SkyModel(PowerLawSpectralModel(index=2.3))
    region = RegionGeom("icrs;circle(0, 0, 0.3)", axes=[AXIS])
    np.testing.assert_allclose(spectrum.integrate_geom(region).data.ravel(), expected.value)
    share = source.integrate_geom(region).data.ravel() / expected.value
    np.testing.assert_allclose(share, 1 - np.exp(-4.5), rtol=2e-3)
