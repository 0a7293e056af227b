"""Fits of the Crab Nebula seen by H.E.S.S., two ON/OFF runs, against Gammapy 2.1.

Gammapy integrates the log-parabola over each true energy bin as four power laws. That is right to
1e-5, Gauss-Legendre quadrature to 1e-12. Where this matters, statistics are compared twice: with a
model that integrates as Gammapy does, to many digits, and with the exact one, to those that agree.
"""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from villard.datasets import Datasets, SpectrumDatasetOnOff
from villard.likelihood import bind
from villard.likelihood.predict import predict
from villard.modeling import Fit
from villard.modeling.models import (
    ExpCutoffPowerLawSpectralModel,
    LogParabolaSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)
from villard.utils.array import namespace

_FOLDER = Path(__file__).parents[1] / "reference"
REFERENCE = json.loads((_FOLDER / "crab_hess_fit.json").read_text())
ENTRIES = json.loads((_FOLDER / "fits_1d.json").read_text())
NAMES = ("amplitude", "alpha", "beta")
PAIRS = list(combinations(("alpha", "beta", "amplitude"), 2))
N_SEGMENTS = 4
BEST = {name: REFERENCE["fit"]["pars"][name]["value"] for name in NAMES}


def read(*obs_ids: int) -> Datasets:
    path = "$GAMMAPY_DATA/joint-crab/spectra/hess/pha_obs{}.fits"
    return Datasets([SpectrumDatasetOnOff.read(path.format(i), name=str(i)) for i in obs_ids])


class SegmentedLogParabola(LogParabolaSpectralModel):
    """Log-parabola whose integral over a bin is that of four power laws, as Gammapy has it."""

    tag = ["SegmentedLogParabola"]

    @staticmethod
    def evaluate_integral(
        energy_min: Any, energy_max: Any, amplitude: Any, reference: Any, alpha: Any, beta: Any
    ) -> Any:
        xp = namespace(energy_min, amplitude, alpha, beta)
        fraction = np.linspace(0, 1, N_SEGMENTS + 1)
        width = xp.log(energy_max / energy_min)
        energy = energy_min[:, None] * xp.exp(width[:, None] * fraction)
        dnde = LogParabolaSpectralModel.evaluate(energy, amplitude, reference, alpha, beta)
        low, high = dnde[:, :-1] * energy[:, :-1], dnde[:, 1:] * energy[:, 1:]
        slope = xp.log(high / low)
        # (high - low) / slope, also where the flux per logarithmic energy is the same at both ends.
        near = xp.abs(slope) < 1e-6
        slope = xp.where(near, 1.0, slope)
        mean = xp.where(near, 0.5 * (low + high), (high - low) / slope)
        return xp.sum(mean, axis=1) * width / N_SEGMENTS


def make_dataset(model_class: type[LogParabolaSpectralModel]) -> Any:
    """The stacked data set with a log-parabola, at the start values of the reference."""
    dataset = read(23523, 23526).stack_reduce(name="HESS")
    dataset.mask_fit = dataset.counts.geom.energy_mask(0.66 * u.TeV, 30 * u.TeV)
    spectrum = model_class(amplitude=1e-11 / u.cm**2 / u.s / u.TeV, reference=1 * u.TeV, alpha=2.3, beta=0.2)
    spectrum.alpha.min, spectrum.alpha.max = 1, 3
    dataset.models = SkyModel(spectrum, name="crab")
    return dataset


@pytest.fixture
def crab(gammapy_data: Path) -> Any:
    return make_dataset(LogParabolaSpectralModel)


@pytest.fixture
def crab_of_gammapy(gammapy_data: Path) -> Any:
    return make_dataset(SegmentedLogParabola)


def parameters(dataset: Any) -> Any:
    return dataset.models["crab"].parameters


def set_values(dataset: Any, values: dict[str, float]) -> None:
    for name, value in values.items():
        parameters(dataset)[name].value = value


def test_counts_and_start(crab: Any, crab_of_gammapy: Any) -> None:
    mask = crab.mask.data
    assert crab.counts.data[mask].sum() == REFERENCE["counts"]["on"]
    assert crab.counts_off.data[mask].sum() == REFERENCE["counts"]["off"]
    assert_allclose(crab_of_gammapy.stat_sum(), REFERENCE["stat_start"], rtol=1e-7)
    assert_allclose(bind([crab_of_gammapy]).stat(), REFERENCE["stat_start"], rtol=1e-7)
    assert_allclose(crab.stat_sum(), REFERENCE["stat_start"], rtol=3e-5)


def test_bins_are_integrated_exactly(crab: Any) -> None:
    from scipy.integrate import quad

    spectrum = crab.models["crab"].spectral_model
    measurement = crab.measurement()
    values = [p.engine_value for p in spectrum.parameters]
    edges = list(zip(measurement.energy_min, measurement.energy_max, strict=True))

    def density(log_energy: float) -> float:
        energy = np.exp(log_energy)
        return 1e11 * energy * LogParabolaSpectralModel.evaluate(energy, *values)

    flux = [1e-11 * quad(density, *np.log(edge), epsabs=0, epsrel=1e-13)[0] for edge in edges]
    expected = (flux * measurement.exposure) @ measurement.edisp
    assert_allclose(predict(measurement, crab.models), expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("newton", {}),
        ("minuit", {"tol": 0.001, "strategy": 1}),
        ("scipy", {"method": "L-BFGS-B", "options": {"ftol": 1e-10, "gtol": 1e-7}}),
        ("scipy", {"method": "trust-constr"}),
        ("scipy", {"method": "Nelder-Mead"}),
        ("scipy", {"method": "Powell"}),
        ("scipy", {"method": "SLSQP"}),
        ("scipy", {"method": "TNC"}),
        ("scipy", {"method": "COBYQA"}),
        ("scipy", {"method": "basinhopping", "niter": 2}),
        ("sherpa", {"method": "simplex", "ftol": 1e-6, "maxfev": 10_000}),
        ("sherpa", {"method": "levmar"}),
        ("sherpa", {"method": "moncar"}),
    ],
)
def test_every_backend_finds_the_minimum(crab: Any, backend: str, options: dict[str, Any]) -> None:
    if backend == "sherpa":
        pytest.importorskip("sherpa", reason="needs the extra sherpa")
    result = Fit(backend=backend, optimize_opts=options, store_trace=True).run(crab)
    assert result.success
    # Powell's line searches creep along the valley of correlated parameters.
    powell = options.get("method") == "Powell"
    assert_allclose(result.total_stat, 30.34953, atol=1e-3 if powell else 1e-5)
    # At the minimum the statistic is flat: values are less exact than its square root says.
    values = [result.parameters[n].value for n in NAMES]
    assert_allclose(values, list(BEST.values()), rtol=1e-2 if powell else 1e-3)
    expected = [REFERENCE["fit"]["pars"][n]["error"] for n in NAMES]
    assert_allclose([result.parameters[n].error for n in NAMES], expected, rtol=0.01)
    assert_allclose(result.covariance.data, REFERENCE["covariance"], rtol=0.02)
    assert len(result.trace) == result.nfev


def test_minimum_is_at_least_as_deep(crab_of_gammapy: Any) -> None:
    result = Fit().run(crab_of_gammapy)
    assert result.total_stat < REFERENCE["fit"]["total_stat"] + 1e-7
    expected = ENTRIES["crab1d.tutorial.fit"]["expected"]
    assert_allclose(result.total_stat, expected["total_stat"], rtol=1e-7)
    npred = crab_of_gammapy.npred_signal().data[:, 0, 0]
    assert_allclose(npred, REFERENCE["npred_best"], rtol=3e-4)


def test_errors_are_those_of_the_exact_hessian(crab: Any) -> None:
    """MINUIT's 0.26258 for alpha comes from second differences over a sixth of a standard deviation.

    Second differences of the statistic, from predictions in plain numpy, converge with the square of
    their step to the exact Hessian's 0.26389. At the step of 0.16 they are what MIGRAD leaves behind;
    a further call of MINUIT's HESSE with strategy 2 comes to 0.2639 as well.
    """
    result = Fit().run(crab)
    sigma = np.array([result.parameters[name].error for name in NAMES])
    center = np.array([parameters(crab)[name].value for name in NAMES])

    def stat(shift: Any) -> float:
        set_values(crab, dict(zip(NAMES, center + shift * sigma, strict=True)))
        return crab.stat_sum()

    def error_of_alpha(step: float) -> float:
        unit = step * np.eye(3)
        hessian = np.array(
            [[stat(a + b) - stat(a - b) - stat(b - a) + stat(-a - b) for a in unit] for b in unit]
        ) / (4 * step**2)
        return float(np.sqrt(2 * np.linalg.inv(hessian)[1, 1]) * sigma[1])

    errors = np.array([error_of_alpha(step) for step in (0.16, 0.08, 0.04, 0.02)])
    missing = result.parameters["alpha"].error - errors
    assert_allclose(missing[:-1] / missing[1:], 4, rtol=0.03)
    extrapolated = errors[-1] + (errors[-1] - errors[-2]) / 3
    assert_allclose(extrapolated, 0.2638905, rtol=2e-6)
    assert_allclose(result.parameters["alpha"].error, 0.2638905, rtol=1e-5)
    assert_allclose(errors[0], 0.2626, atol=1e-4)
    assert_allclose(REFERENCE["fit"]["pars"]["alpha"]["error"], 0.2626, atol=1e-4)


def test_statistic_at_given_points(crab: Any, crab_of_gammapy: Any) -> None:
    entry = ENTRIES["crab1d.tutorial.stat_points"]
    for point, expected in zip(entry["inputs"]["points"], entry["expected"], strict=True):
        for dataset, rtol in ((crab_of_gammapy, 1e-7), (crab, 2e-4)):
            set_values(dataset, dict(zip(NAMES, point, strict=True)))
            assert_allclose(dataset.stat_sum(), expected, rtol=rtol)
            assert_allclose(bind([dataset]).stat(), expected, rtol=rtol)


def test_predicted_counts(crab: Any) -> None:
    entry = ENTRIES["crab1d.tutorial.npred"]
    set_values(crab, dict(zip(NAMES, entry["inputs"]["point"], strict=True)))
    assert_allclose(crab.npred_signal().data[crab.mask.data], entry["expected"], rtol=entry["rtol"])
    assert_allclose(bind([crab]).npred()[0], entry["expected"], rtol=entry["rtol"])


@pytest.mark.parametrize("name", NAMES)
def test_profile(crab_of_gammapy: Any, name: str) -> None:
    crab = crab_of_gammapy
    set_values(crab, BEST)
    expected = REFERENCE["profiles"][name]
    key = f"crab.spectral.{name}_scan"
    parameter = parameters(crab)[name]
    parameter.scan_values = expected[key]
    profile = Fit().stat_profile(crab, parameter)
    assert_allclose(profile[key], expected[key])
    assert_allclose(profile["stat_scan"], expected["stat_scan"], rtol=1e-7)
    assert parameter.value == BEST[name]


@pytest.mark.parametrize("name", NAMES)
def test_refitted_profile(crab_of_gammapy: Any, name: str) -> None:
    crab = crab_of_gammapy
    Fit().run(crab)
    expected = REFERENCE["profiles_reopt"][name]
    key = f"crab.spectral.{name}_scan"
    parameters(crab)[name].scan_values = expected[key]
    profile = Fit().stat_profile(crab, parameters(crab)[name], reoptimize=True)
    # Nowhere above Gammapy's refits, which end within their tolerance of the minimum.
    assert np.all(profile["stat_scan"] < np.array(expected["stat_scan"]) + 1e-6)
    assert_allclose(profile["stat_scan"], expected["stat_scan"], atol=2e-3)
    table = profile["fit_results"]
    assert len(table) == 17
    assert np.all(table["success"])
    assert_allclose(table["stat"], profile["stat_scan"])
    assert_allclose(table[key.removesuffix("_scan")], expected[key])


@pytest.mark.parametrize("name", NAMES)
def test_minos_errors(crab: Any, name: str) -> None:
    Fit().run(crab)
    interval = Fit().confidence(crab, parameters(crab)[name])
    assert interval["success"]
    for key, expected in REFERENCE["minos"][name].items():
        assert_allclose(interval[key], expected, rtol=2e-4)
    expected = ENTRIES["crab1d.tutorial.minos"]["expected"][name]
    assert_allclose([interval["errn"], interval["errp"]], expected, rtol=1e-3)


def profile_at(dataset: Any, points: dict[str, Any]) -> Any:
    """Refitted statistic at points of two parameters."""
    likelihood = bind([dataset])
    best = likelihood.minimize()
    theta = np.tile(likelihood.to_values(best.theta), (len(next(iter(points.values()))), 1))
    active = np.ones(likelihood.n_free, dtype=bool)
    for name, values in points.items():
        column = likelihood.column(parameters(dataset)[name])
        theta[:, column] = values
        active[column] = False
    solution = likelihood.minimize_batch(likelihood.to_theta(theta), active=active)
    assert solution.success.all()
    return solution.value - best.value


@pytest.mark.parametrize("sigma", [1, 2])
@pytest.mark.parametrize("pair", PAIRS)
def test_contours(crab_of_gammapy: Any, pair: tuple[str, str], sigma: int) -> None:
    """Points of both, spread differently, lie where the refitted statistic has risen by sigma²."""
    crab = crab_of_gammapy
    Fit().run(crab)
    first, second = (parameters(crab)[name] for name in pair)
    contour = Fit().stat_contour(crab, first, second, sigma=sigma)
    assert contour["success"]
    points = {name: contour[f"crab.spectral.{name}"] for name in pair}
    assert len(points[pair[0]]) == 11
    assert_allclose(profile_at(crab, points), sigma**2, atol=5e-6 * sigma**2)
    reference = REFERENCE["contours"][f"sigma{sigma}"]["_".join(pair)]
    rise = profile_at(crab, {name: reference[name] for name in pair})
    assert_allclose(rise, sigma**2, atol=1e-3 * sigma**2)
    expected = REFERENCE["contour_delta_ts"][f"sigma{sigma}_{'_'.join(pair)}"]
    assert_allclose(rise[: len(expected)], expected, atol=1e-5)


@pytest.mark.parametrize("reoptimize", [False, True])
def test_surface(crab_of_gammapy: Any, reoptimize: bool) -> None:
    crab = crab_of_gammapy
    Fit().run(crab)
    set_values(crab, BEST)
    alpha, beta = (parameters(crab)[name] for name in ("alpha", "beta"))
    for parameter in (alpha, beta):
        low, high, n = REFERENCE["surface_axes"][parameter.name]
        parameter.scan_values = np.linspace(low, high, n)
    surface = Fit().stat_surface(crab, alpha, beta, reoptimize=reoptimize)
    expected = np.array(REFERENCE["surface_reopt" if reoptimize else "surface_fixed"])
    assert surface["stat_scan"].shape == (20, 20)
    assert np.all(surface["stat_scan"] < expected + 1e-6 * expected)
    assert_allclose(surface["stat_scan"], expected, rtol=5e-6 if reoptimize else 1e-7)
    kind = "reopt" if reoptimize else "fixed"
    entry = ENTRIES[f"crab1d.tutorial.surface_{kind}"]
    for (x, y), value in zip(entry["inputs"]["nodes"], entry["expected"], strict=True):
        at = np.argmin(abs(alpha.scan_values - x)), np.argmin(abs(beta.scan_values - y))
        assert_allclose(surface["stat_scan"][at], value, rtol=entry["rtol"])


def power_law() -> SkyModel:
    return SkyModel(PowerLawSpectralModel(index=2, amplitude="2e-11 cm-2 s-1 TeV-1"), name="crab")


def check(result: Any, entry: str) -> None:
    expected, rtol = ENTRIES[entry]["expected"], ENTRIES[entry]["rtol"]
    for name, value in expected.items():
        if name == "total_stat":
            assert_allclose(result.total_stat, value, rtol=rtol)
        elif name.endswith("_err"):
            assert_allclose(result.parameters[name.removesuffix("_err")].error, value, rtol=rtol)
        else:
            assert_allclose(result.parameters[name].value, value, rtol=rtol)


def test_power_law_of_one_run(gammapy_data: Path) -> None:
    (dataset,) = read(23523)
    dataset.models = power_law()
    check(Fit().run(dataset), "crab1d.23523.pl")
    entry = ENTRIES["crab1d.23523.npred60"]
    assert_allclose(dataset.npred().data[60, 0, 0], entry["expected"], rtol=entry["rtol"])


def test_cutoff_of_one_run(gammapy_data: Path) -> None:
    (dataset,) = read(23523)
    spectrum = ExpCutoffPowerLawSpectralModel(
        index=1, amplitude="2e-11 cm-2 s-1 TeV-1", reference="1 TeV", lambda_="0.1 TeV-1"
    )
    dataset.models = SkyModel(spectrum, name="crab")
    check(Fit().run(dataset), "crab1d.23523.ecpl")


def test_joint_and_stacked(gammapy_data: Path) -> None:
    runs = read(23523, 23592)
    runs.models = [power_law()]
    check(Fit().run(runs), "crab1d.joint.pl")
    stacked = runs.stack_reduce(name="stacked")
    stacked.models = power_law()
    check(Fit().run(stacked), "crab1d.stacked.pl")


def test_counts_of_stacked_runs(gammapy_data: Path) -> None:
    entry = ENTRIES["crab1d.stack4"]
    runs = read(23523, 23526, 23559, 23592)
    counts = [float(run.counts.data[run.mask_safe.data].sum()) for run in runs]
    assert counts == entry["expected"]["counts"]
    assert list(np.cumsum(counts)) == entry["expected"]["cumulative"]
    assert_allclose(
        runs.stack_reduce().livetime.to_value("s"), entry["expected"]["livetime_s"], rtol=entry["rtol"]
    )
