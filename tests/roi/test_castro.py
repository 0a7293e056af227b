"""Likelihood profiles: published values, closed forms, stacks with uncertain factors."""

import json

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from scipy.optimize import minimize

from villard.estimators import CastroData, CastroStack, FluxPoints, stack_profiles
from villard.estimators.castro import delta_stat
from villard.exceptions import ConfigError, DataError, FileFormatError
from villard.likelihood.profile_statistic import profile_roots
from villard.likelihood.statistics import STATISTICS
from villard.modeling.models import (
    ExpCutoffPowerLawSpectralModel,
    LogParabolaSpectralModel,
    PowerLawSpectralModel,
)
from villard.utils.paths import make_path

REFERENCE = json.loads((make_path(__file__).parent.parent / "reference" / "castro.json").read_text())


def make_castro(stats, edges=(1, 10, 100), spectrum=None, norms=None, **kwargs):
    """Castro data whose profiles are functions of the norm."""
    edges = np.asarray(edges) * u.GeV
    norms = np.linspace(0, 6, 25) if norms is None else norms
    table = Table({"e_min": edges[:-1], "e_max": edges[1:]})
    table["norm_scan"] = np.tile(norms, (len(stats), 1))
    table["stat_scan"] = [stat(norms) for stat in stats]
    table["norm"] = norms[np.argmin(table["stat_scan"], axis=1)]
    points = FluxPoints.from_table(table, sed_type="likelihood", reference_model=spectrum)
    return CastroData(points, **kwargs)


def poisson(n, background, signal):
    """-2 ln L of n counts where background + signal × norm are expected."""

    def stat(norm):
        mu = background + signal * norm
        return 2 * (mu - n * np.log(mu))

    return stat


@pytest.fixture(scope="module")
def sed(gammapy_data):
    return CastroData.read(gammapy_data / "fermi-extra/sed/sed.fits")


def test_confidence_levels():
    expected = REFERENCE["dlnl"]
    assert delta_stat(0.95) / 2 == pytest.approx(expected["onesided95"], rel=1e-9)
    assert delta_stat(0.6827, 2) / 2 == pytest.approx(expected["twosided68"], rel=1e-9)
    assert delta_stat(0.95, 2) / 2 == pytest.approx(expected["twosided95"], rel=1e-9)
    with pytest.raises(ConfigError, match=r"above 0\.5"):
        delta_stat(0.3)


@pytest.mark.parametrize(("n", "background", "signal"), [(0, 2.0, 3.0), (1, 4.0, 2.0), (9, 12.0, 8.0)])
def test_a_best_fit_of_no_flux_is_interpolated_too(n, background, signal):
    norms = np.linspace(0, 5, 21)
    stat = poisson(n, background, signal)
    rise = stat(norms) - stat(0.0)
    data = profile_roots(norms[None], rise[None], np.zeros(1), np.zeros(1))
    points = np.linspace(0, 5, 201)
    columns = {name: np.repeat(values, len(points), axis=1) for name, values in data.items()}
    found, first, _ = STATISTICS["profile"].derivatives(points, columns)
    np.testing.assert_allclose(found, stat(points) - stat(0.0), atol=3e-3)
    np.testing.assert_allclose(first, 2 * signal * (1 - n / (background + signal * points)), atol=0.1)


@pytest.mark.parametrize(("n", "background"), [(25, 4.0), (3, 9.0)])
def test_limits_and_errors_are_those_of_counts(n, background):
    signal = 7.0
    data = make_castro([poisson(n, background, signal)], edges=(1, 10))
    best = max((n - background) / signal, 0)
    stat = poisson(n, background, signal)
    assert data.norm[0] == pytest.approx(best, abs=5e-3)
    limit = data.norm_ul(0.95)[0]
    assert stat(limit) - stat(best) == pytest.approx(2.705543, abs=5e-3)
    errn, errp = data.norm_errors()
    assert stat(best + errp[0]) - stat(best) == pytest.approx(1, abs=5e-3)
    if best > 0:
        assert stat(best - errn[0]) - stat(best) == pytest.approx(1, abs=5e-3)
        assert data.ts[0] == pytest.approx(stat(0.0) - stat(best), abs=1e-2)
    else:
        assert np.isnan(errn[0])
        assert data.ts[0] == 0


def test_bins_of_the_published_sed(sed):
    np.testing.assert_allclose(sed.ts, REFERENCE["bin_ts"], rtol=1e-6, atol=1e-6)
    reference = sed.points.reference("eflux").to_value("MeV cm-2 s-1")
    np.testing.assert_allclose(sed.norm_ul(0.95) * reference, REFERENCE["bin_ul95"], rtol=1.1e-3)
    # The published 99 % limits of some bins are the ends of their tables, where ln L has fallen by less.
    falls = -0.5 * (sed.best_stat - sed.points.quantity("stat_scan").value[:, -1])
    inside = falls > delta_stat(0.99) / 2
    np.testing.assert_allclose(
        (sed.norm_ul(0.99) * reference)[inside], np.array(REFERENCE["bin_ul99"])[inside], rtol=2e-3
    )
    assert np.all(sed.norm_ul(0.99) * reference > np.array(REFERENCE["bin_ul99"]) * 0.998)
    errn, errp = sed.norm_errors()
    # Those of the file are of a smoothing spline.
    np.testing.assert_allclose(errp, REFERENCE["errp"], rtol=0.031)
    known = np.array([x is not None for x in REFERENCE["errn"]])
    np.testing.assert_allclose(errn[known], np.array(REFERENCE["errn"], dtype=float)[known], rtol=0.025)
    assert np.all(np.isnan(errn[~known]))


def fermipy_spectrum(name, k, index, *rest):
    norm = {"amplitude": k * u.Unit("MeV-1 cm-2 s-1"), "reference": "1 GeV"}
    if name == "PowerLaw":
        return PowerLawSpectralModel(index=-index, **norm)
    if name == "LogParabola":
        return LogParabolaSpectralModel(alpha=-index, beta=rest[0], **norm)
    return ExpCutoffPowerLawSpectralModel(index=-index, lambda_=1 / rest[0] / u.MeV, **norm)


def straight_ts(sed, spectrum):
    """TS with straight lines between the values of the table, as fermipy has it."""
    norms, stat = sed.points.norm_scan, sed.points.quantity("stat_scan").value
    return sum(s[0] - np.interp(x, n, s) for x, n, s in zip(sed.predict(spectrum), norms, stat, strict=True))


#: Where fermipy's simplex doesn't stop early: TS and parameters of its maximum.
BEST = {
    "PowerLaw": (28.2037706, [1.12719202e-12, -2.60937903]),
    "LogParabola": (28.25713963, [1.08882626e-12, -2.45712153, 0.06296739]),
    "PLExpCutoff": (28.3214078, [1.04931290e-12, -2.50472567, 63509.633]),
}


@pytest.mark.parametrize("name", BEST)
def test_definitions_are_those_of_fermipy(sed, name):
    """With its straight lines between the values of the table its spectra and their maximum are ours."""
    expected = REFERENCE["sed"][name]
    spectrum = fermipy_spectrum(name, *expected["params"])
    # fermipy integrates curved spectra by a quadrature.
    tolerance = 1e-6 if name == "PowerLaw" else 1e-4
    assert straight_ts(sed, spectrum) == pytest.approx(expected["TS"], abs=tolerance)
    # The likelihood lies below these lines.
    assert expected["TS"] < sed.ts_spectrum(spectrum) < expected["TS"] + 0.1
    ts, best = BEST[name]

    def fall(x):
        return -straight_ts(sed, fermipy_spectrum(name, *(x * best)))

    start = np.array(expected["params"]) / best
    for _ in range(2):
        result = minimize(
            fall, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-11, "maxfev": 2000}
        )
        start = result.x
    assert -result.fun == pytest.approx(ts, abs=tolerance)
    # Along the valley of curved spectra the TS hardly changes, and simplexes end anywhere in it.
    if name == "PowerLaw":
        np.testing.assert_allclose(result.x, 1, rtol=1e-6)


def test_spectra_fitted_to_the_published_sed(sed):
    fits = sed.test_spectra()
    for name, expected in REFERENCE["sed"].items():
        assert fits[name].success
        assert expected["TS"] <= fits[name].ts < expected["TS"] + 0.1
    # Nested models.
    assert fits["PowerLaw"].ts <= fits["LogParabola"].ts
    assert fits["PowerLaw"].ts <= fits["PLExpCutoff"].ts
    index = REFERENCE["sed"]["PowerLaw"]["params"][1]
    assert fits["PowerLaw"].parameters["index"] == pytest.approx(
        -index, abs=0.1 * fits["PowerLaw"].model.index.error
    )
    assert "TS 28.25" in str(fits["PowerLaw"])


def test_fits_find_the_highest_of_several_maxima(gammapy_data):
    folder = gammapy_data / "fermi-extra/sed"
    targets = {
        "yaml": CastroData.read(folder / "sed.yaml"),
        "castro": CastroData.read(folder / "castro.fits", 19),
    }
    for key, data in targets.items():
        for name, ts in REFERENCE[key].items():
            assert data.test_spectra([name])[name].ts >= ts


def test_files_of_several_targets(gammapy_data):
    path = gammapy_data / "fermi-extra/sed/castro.fits"
    targets = CastroData.read_all(path)
    assert len(targets) == 26
    assert CastroData.read(path, "draco").name == "draco"
    assert targets[0].points.energy_min[0].to_value("MeV") == pytest.approx(100)
    with pytest.raises(DataError, match="draco"):
        CastroData.read(path, "drako")
    with pytest.raises(DataError, match="there are 26 targets"):
        CastroData.read(path)


def test_written_profiles_are_read_again(sed, tmp_path):
    sed.write(tmp_path / "sed.fits")
    again = CastroData.read(tmp_path / "sed.fits")
    norm = 1.3 * sed.norm + 0.2
    np.testing.assert_allclose(again.stat(norm), sed.stat(norm), rtol=1e-9, atol=1e-9)
    table = sed.to_table()
    assert table.colnames[:3] == ["e_min", "e_max", "norm"]


def test_bad_files_are_named(tmp_path):
    text = tmp_path / "bad.yaml"
    text.write_text("- emin: 1\n")
    with pytest.raises(FileFormatError, match="emin, emax, eflux, logLike"):
        CastroData.read(text)
    text.write_text("!!python/object/apply:os.system ['true']\n")
    with pytest.raises(FileFormatError, match=r"os\.system"):
        CastroData.read(text)
    with pytest.raises(DataError, match="not found"):
        CastroData.read(tmp_path / "none.fits")


def test_stacked_profiles_are_those_of_added_counts():
    parts = [poisson(20, 8.0, 4.0), poisson(12, 8.0, 4.0)]
    stacked = stack_profiles([make_castro([part], (1, 10)) for part in parts])
    together = poisson(32, 16.0, 8.0)
    best = (32 - 16) / 8
    assert stacked.norm[0] == pytest.approx(best, rel=5e-3)
    assert stacked.ts[0] == pytest.approx(together(0.0) - together(best), rel=5e-3)
    doubled = stack_profiles([make_castro([part], (1, 10)) for part in parts], weights=[2, 2])
    assert doubled.norm[0] == pytest.approx(best / 2, rel=5e-3)
    with pytest.raises(DataError, match="CastroStack"):
        stack_profiles([make_castro([parts[0]], (1, 10)), make_castro([parts[0]], (1, 20))])


SPECTRA = [PowerLawSpectralModel(index=x, amplitude="1e-12 TeV-1 cm-2 s-1") for x in (1.6, 2.0, 2.6)]


@pytest.fixture(scope="module")
def targets():
    spectrum = SPECTRA[1]
    rng = np.random.default_rng(1)
    result = []
    for i in range(4):
        backgrounds, signals = rng.uniform(2, 30, 3), rng.uniform(2, 10, 3)
        counts = rng.poisson(backgrounds + (1.0 if i == 2 else 0.2) * signals)
        stats = [poisson(*row) for row in zip(counts, backgrounds, signals, strict=True)]
        result.append(make_castro(stats, (1, 10, 100, 1000), spectrum, np.linspace(0, 15, 41), name=f"{i}"))
    return result


@pytest.mark.parametrize("prior", ["lognormal", "gaussian", "lognormal-density"])
def test_limits_are_those_of_a_search_by_brute_force(targets, prior):
    sigma = np.array([0.3, 0.0, 0.2, 0.4])
    shifts = np.array([0.1, -0.2, 0.3, 0.0])
    stack = CastroStack(targets, shifts, sigma, prior=prior)
    table = stack.limits(SPECTRA)

    def penalty(x, s):
        extra = 2 * np.log(10) * x if prior == "lognormal-density" else 0.0
        return ((10**x - 1) / s) ** 2 if prior == "gaussian" else (x / s) ** 2 + extra

    for k in (0, 2):
        norms = stack.predict(SPECTRA[k])

        def brute(norm, norms=norms):
            total = 0.0
            for target, own, s in zip(targets, norms, sigma, strict=True):
                x = np.linspace(-2, 1.5, 7001)[:, None] if s else np.zeros((1, 1))
                total += np.min(
                    target.stat(norm * 10**x * own).sum(axis=1) + (penalty(x[:, 0], s) if s else 0)
                )
            return total

        best = brute(table["norm"][k])
        scan = [brute(x) for x in np.linspace(0, 2, 41) * table["norm_ul"][k]]
        assert best <= min(scan) + 2e-4
        assert brute(table["norm_ul"][k]) - best == pytest.approx(2.705543, abs=1e-3)
        assert brute(0.0) - best == pytest.approx(table["ts"][k], abs=1e-3)


def test_targets_with_other_bins_are_stacked_too(targets):
    """Numbers of bins and of values of the tables differ."""
    other = make_castro(
        [poisson(7, 5.0, 2.0), poisson(1, 2.0, 3.0)], (1, 30, 1000), SPECTRA[1], np.linspace(0, 9, 31)
    )
    mixed = CastroStack([targets[0], other], [0.0, 0.3], [0.2, 0.3])
    norm = mixed.limits(SPECTRA)["norm_ul"]
    for k, spectrum in enumerate(SPECTRA):
        rise = mixed.profile(spectrum, [norm[k]])
        assert rise[0] == pytest.approx(2.705543, abs=1e-4)
    x = np.linspace(-1.5, 1.5, 3001)[:, None]
    parts = zip(mixed.targets, mixed.predict(SPECTRA[0]), (0.2, 0.3), strict=True)
    brute = [
        [np.min(t.stat(n * 10**x * own).sum(axis=1) + (x[:, 0] / s) ** 2) for n in (0, norm[0])]
        for t, own, s in parts
    ]
    at_zero, at_limit = np.sum(brute, axis=0)
    assert at_limit - at_zero == pytest.approx(2.705543 - mixed.limits(SPECTRA)["ts"][0], abs=1e-3)


def test_uncertain_factors_weaken_limits(targets):
    exact = CastroStack(targets).limits(SPECTRA)
    uncertain = CastroStack(targets, sigma=0.4).limits(SPECTRA)
    assert np.all(uncertain["norm_ul"] > exact["norm_ul"])
    # A factor of ten in all is a factor of ten.
    tenfold = CastroStack(targets, log10_factor=1.0).limits(SPECTRA)
    np.testing.assert_allclose(tenfold["norm_ul"] * 10, exact["norm_ul"], rtol=1e-6)


def test_one_target_with_a_factor_at_infinity_of_data():
    """Far from zero ln norm has the variances of counts and of the factor added."""
    n, sigma = 40000, 0.05
    data = make_castro([poisson(n, 100.0, n - 100.0)], (1, 10), SPECTRA[1], np.linspace(0, 2, 201))
    table = CastroStack([data], sigma=sigma).limits([SPECTRA[1]])
    expected = np.log(10) * sigma
    assert np.log(table["norm_ul"][0] / table["norm"][0]) == pytest.approx(1.6449 * expected, rel=0.02)


def test_limits_of_a_cross_section(targets):
    stack = CastroStack(targets, sigma=0.3)
    masses = [10, 100] * u.GeV
    table = stack.sigmav_limits(
        lambda m: PowerLawSpectralModel(
            index=2, amplitude=1e-12 * u.Unit("TeV-1 cm-2 s-1") * (10 * u.GeV / m) ** 2
        ),
        masses,
        sigmav=1e-26 * u.Unit("cm3 s-1"),
    )
    assert table["sigmav_ul"].unit == u.Unit("cm3 s-1")
    assert (table["sigmav_ul"][1] / table["sigmav_ul"][0]).value == pytest.approx(100, rel=1e-5)


def test_bad_stacks_are_named(targets):
    with pytest.raises(DataError, match="expected 4 finite numbers as sigma"):
        CastroStack(targets, sigma=[1, 2])
    with pytest.raises(ConfigError, match="lognormal"):
        CastroStack(targets, prior="log-normal")
    with pytest.raises(DataError, match="no flux"):
        CastroStack(targets).limits([PowerLawSpectralModel(amplitude="0 TeV-1 cm-2 s-1")])


def test_limits_cover():
    """300 searches in 3 targets without signal: 95 % limits lie above it in 95 % or more of them."""
    rng = np.random.default_rng(5)
    n, sigma, truth = 300, 0.25, 0.4
    background, signal = np.array([3.0, 10.0, 30.0]), np.array([6.0, 8.0, 12.0])
    covered = 0
    norms = np.linspace(0, 8, 33)
    data = make_castro([poisson(3, 3.0, 2.0)], (1, 10), SPECTRA[1], norms)
    stack = CastroStack([data, data, data], sigma=sigma)
    for _ in range(n):
        # What is measured of the factors is off; the likelihood is told of the error only.
        true = signal * 10 ** rng.normal(0, sigma, 3)
        counts = rng.poisson(background + truth * true)
        stats = [poisson(*row)(norms) for row in zip(counts, background, signal, strict=True)]
        covered += _upper_limit(stack, norms, stats) >= truth
    assert covered / n > 0.95 - 2 * np.sqrt(0.05 * 0.95 / n)


def _upper_limit(stack, norms, stats):
    """The limit by direct search: 300 stacks would take their time."""
    x = np.linspace(-0.9, 0.9, 61)
    grid = np.linspace(0, 4, 81)
    total = 0.0
    for stat in stats:
        rows = np.interp(grid[:, None] * 10**x, norms, stat) + (x / stack.sigma[0]) ** 2
        total = total + rows.min(axis=1)
    best = int(np.argmin(total))
    above = np.flatnonzero(total[best:] - total[best] > delta_stat(0.95))
    return grid[best + above[0]] if len(above) else np.inf


def test_castro_plot(sed):
    import matplotlib.pyplot as plt

    ax = sed.plot(
        spectra={
            "index 2.6": PowerLawSpectralModel(index=2.6, amplitude="1e-12 MeV-1 cm-2 s-1", reference="1 GeV")
        }
    )
    assert ax.get_xscale() == "log"
    plt.close("all")
