"""Estimated flux points: closed forms, Gammapy's numbers, fits of single bins, empty bins, toys."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose

from villard.datasets import Datasets, FluxPointsDataset, SpectrumDataset, SpectrumDatasetOnOff
from villard.estimators import FluxPoints, FluxPointsEstimator
from villard.exceptions import ConfigError, DataError, FitError, ModelError
from villard.irf import EDispKernel
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling import Fit
from villard.modeling.models import (
    GaussianPrior,
    LogParabolaSpectralModel,
    Models,
    PowerLawSpectralModel,
    ScaleSpectralModel,
    SkyModel,
)
from villard.modeling.parameter import Parameter
from villard.stats import WStatCountsStatistic

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "flux_points.json").read_text())
AXIS = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=6)


def as_map(values, axis=AXIS, **kwargs):
    return RegionNDMap(
        RegionGeom(None, axes=[axis]), data=np.reshape(values, (-1, 1, 1)).astype(float), **kwargs
    )


def power_law(index=2.0, amplitude=1e-12, name="source", **kwargs):
    spectrum = PowerLawSpectralModel(index=index, amplitude=amplitude * u.Unit("cm-2 s-1 TeV-1"))
    return SkyModel(spectrum, name=name, **kwargs)


def true_axis(axis=AXIS):
    return axis.rename("energy_true")


def make_dataset(counts=None, background=0.0, exposure=1e14, axis=AXIS, name="toy", **kwargs):
    """Counts with a known background; the Asimov data of a power law by default."""
    dataset = SpectrumDataset(
        counts=None,
        exposure=as_map(np.full(axis.nbin, exposure), true_axis(axis), unit="cm2 s"),
        background=as_map(np.full(axis.nbin, background), axis),
        name=name,
        **{"models": power_law()} | kwargs,
    )
    dataset.counts = dataset.npred() if counts is None else as_map(counts, axis)
    return dataset


def make_onoff(counts, counts_off, exposure=1e13, axis=AXIS, name="onoff", **kwargs):
    n = axis.nbin
    return SpectrumDatasetOnOff(
        counts=as_map(counts, axis),
        counts_off=as_map(counts_off, axis),
        acceptance=as_map(np.ones(n), axis),
        acceptance_off=as_map(np.full(n, 5.0), axis),
        exposure=as_map(np.full(n, exposure), true_axis(axis), unit="cm2 s"),
        name=name,
        **{"models": power_law()} | kwargs,
    )


def estimate(dataset, edges=AXIS.edges, **kwargs):
    return FluxPointsEstimator(edges, **{"source": "source", "selection_optional": "all"} | kwargs).run(
        dataset
    )


def values(points, name):
    return points.quantity(name).value


def test_reference_of_gammapy():
    case = REFERENCE["estimator"]["inputs"]
    edges = case["energy_edges_TeV"] * u.TeV
    axis = MapAxis.from_energy_edges(edges)
    n = axis.nbin
    dataset = SpectrumDatasetOnOff(
        counts=as_map(case["counts_on"], axis),
        counts_off=as_map(case["counts_off"], axis),
        acceptance=as_map(np.full(n, case["acceptance"]), axis),
        acceptance_off=as_map(np.full(n, case["acceptance_off"]), axis),
        exposure=as_map(case["exposure_cm2_s"], true_axis(axis), unit="cm2 s"),
        edisp=EDispKernel.from_diagonal_response(true_axis(axis), axis),
        models=power_law(),
    )
    points = estimate(dataset, case["fp_edges_TeV"] * u.TeV)
    for name, expected in REFERENCE["estimator"]["expected"].items():
        assert_allclose(values(points, name), expected, rtol=2e-3, err_msg=name)
    assert_allclose(points.energy_min.value, [0.31622777, 1, 10])
    assert_allclose(points.energy_max.value, [1, 10, 31.6227766])


@pytest.mark.parametrize("kind", ["stacked", "joint"])
def test_hess_runs_as_gammapy(kind, gammapy_data):
    paths = [gammapy_data / f"joint-crab/spectra/hess/pha_obs{i}.fits" for i in (23523, 23526)]
    datasets = Datasets([SpectrumDatasetOnOff.read(path) for path in paths])
    if kind == "stacked":
        datasets = Datasets([datasets.stack_reduce(name="HESS")])
    spectrum = LogParabolaSpectralModel(
        amplitude="3.8122e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.1957, beta=0.22652
    )
    datasets.models = SkyModel(spectrum, name="source")
    reference = REFERENCE["hess"]
    points = estimate(datasets, reference["energy_edges_TeV"] * u.TeV)
    expected = reference[kind]
    assert_allclose(points.energy_min.value, expected["e_min_TeV"], rtol=1e-6)
    assert_allclose(points.energy_max.value, expected["e_max_TeV"], rtol=1e-6)
    # Errors of Gammapy's minima are a few per mille of the statistical ones; ours are lower.
    error = values(points, "norm_err")
    for name in ("norm", "norm_err", "norm_errn", "norm_errp", "norm_ul"):
        assert_allclose(
            values(points, name), expected[name], atol=0.02 * error.min(), rtol=0.01, err_msg=name
        )
    for name in ("ts", "stat", "stat_null"):
        assert_allclose(values(points, name), expected[name], atol=0.005, err_msg=name)
    assert np.all(values(points, "stat") <= np.array(expected["stat"]) + 1e-9)
    assert_allclose(points.counts.data[..., 0, 0], expected["counts"])
    assert_allclose(points.npred.data[..., 0, 0], expected["npred"], rtol=0.01)
    assert_allclose(points.npred_excess.data[..., 0, 0], expected["npred_excess"], rtol=0.02)
    assert_allclose(points.norm_scan, expected["norm_scan"])
    # Gammapy integrates spectra as power laws over bins of true energy, which is 5e-4 too low here.
    assert_allclose(values(points, "stat_scan"), expected["stat_scan"], rtol=3e-4)


def test_counts_without_background_in_closed_form():
    counts = np.array([1000.0, 300, 100, 30, 10, 3])
    dataset = make_dataset(counts)
    signal = dataset.npred_signal().data.ravel()
    points = estimate(dataset)
    norm = counts / signal
    assert_allclose(values(points, "norm"), norm, rtol=1e-6)
    assert_allclose(values(points, "norm_err"), np.sqrt(counts) / signal, rtol=1e-6)
    assert_allclose(points.quantity("flux"), norm * points.reference("flux"), rtol=1e-6)
    for name, level in (("norm_errp", 1), ("norm_errn", -1)):
        mu = counts + level * signal * values(points, name)
        assert_allclose(2 * (mu - counts - counts * np.log(mu / counts)), 1, rtol=1e-5)
    mu = signal * values(points, "norm_ul")
    assert_allclose(2 * (mu - counts - counts * np.log(mu / counts)), 4, rtol=1e-5)
    # Profiles are the statistic itself.
    mu = signal[:, None] * points.norm_scan
    assert_allclose(values(points, "stat_scan"), 2 * (mu - counts[:, None] * np.log(mu)), rtol=1e-10)
    assert_allclose(points.counts.data.ravel(), counts)
    assert_allclose(points.npred.data.ravel(), counts, rtol=1e-6)


def test_significance_of_one_bin_is_that_of_li_and_ma():
    counts, counts_off = np.array([40.0, 25, 12, 9, 4, 1]), np.array([60.0, 55, 30, 45, 20, 9])
    points = estimate(make_onoff(counts, counts_off))
    expected = WStatCountsStatistic(counts, counts_off, 0.2)
    assert_allclose(values(points, "sqrt_ts"), expected.sqrt_ts, rtol=1e-6, atol=1e-6)
    assert_allclose(points.npred_excess.data.ravel(), expected.n_sig, rtol=1e-5, atol=1e-8)
    assert_allclose(values(points, "stat"), 0, atol=1e-8)
    # Below two sigma a point is taken as a limit.
    assert points.is_ul.data.ravel().tolist() == (expected.sqrt_ts < 2).tolist()


def test_a_bin_of_several_channels_is_a_fit_of_these():
    # The independent way: a fit of the norm to the dataset cut to the bin, with its confidence interval.
    rng = np.random.default_rng(1)
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=12)
    dataset = make_onoff(rng.poisson(20, 12), rng.poisson(40, 12), axis=axis)
    points = estimate(dataset, [1, 10, 100] * u.TeV, n_sigma_ul=3)
    for i, (low, high) in enumerate(zip(points.energy_min, points.energy_max, strict=True)):
        part = dataset.slice_by_energy(low, high)
        scaled = SkyModel(ScaleSpectralModel(power_law().spectral_model), name="source")
        part.models = scaled
        result = Fit().run([part])
        norm = scaled.spectral_model.norm
        assert_allclose(values(points, "stat")[i], result.total_stat, rtol=1e-8)
        assert_allclose(values(points, "norm")[i], norm.value, rtol=1e-5)
        assert_allclose(values(points, "norm_err")[i], norm.error, rtol=1e-4)
        interval = Fit().confidence([part], norm)
        assert_allclose(values(points, "norm_errn")[i], interval["errn"], rtol=1e-4)
        assert_allclose(values(points, "norm_errp")[i], interval["errp"], rtol=1e-4)
        limit = norm.value + Fit().confidence([part], norm, sigma=3)["errp"]
        assert_allclose(values(points, "norm_ul")[i], limit, rtol=1e-4)


def test_other_sources_are_refitted_if_asked():
    rng = np.random.default_rng(2)
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=12)
    dataset = make_dataset(axis=axis, background=2.0)
    other = power_law(index=3.0, amplitude=3e-13, name="other")
    other.parameters["index"].frozen = True
    other.parameters["amplitude"].prior = GaussianPrior(
        mu="3e-13 cm-2 s-1 TeV-1", sigma="1e-13 cm-2 s-1 TeV-1"
    )
    dataset.models = Models([power_law(), other])
    dataset.fake(rng.integers(1000))
    kept = estimate(dataset, [1, 10, 100] * u.TeV)
    points = estimate(dataset, [1, 10, 100] * u.TeV, reoptimize=True)
    assert np.all(values(points, "norm_err") > [1.05, 1] * values(kept, "norm_err"))
    for i, (low, high) in enumerate(zip(points.energy_min, points.energy_max, strict=True)):
        part = dataset.slice_by_energy(low, high)
        scaled = SkyModel(ScaleSpectralModel(power_law().spectral_model), name="source")
        part.models = Models([scaled, other.copy(name="other")])
        result = Fit().run([part])
        norm = scaled.spectral_model.norm
        assert_allclose(values(points, "stat")[i], result.total_stat, rtol=1e-8)
        assert_allclose(values(points, "norm")[i], norm.value, atol=1e-4 * norm.error)
        assert_allclose(values(points, "norm_err")[i], norm.error, rtol=1e-4)
        assert_allclose(values(points, "norm_errp")[i], Fit().confidence([part], norm)["errp"], rtol=1e-4)
        norm.scan_values = points.norm_scan[i]
        profile = Fit().stat_profile([part], norm, reoptimize=True)["stat_scan"]
        assert_allclose(values(points, "stat_scan")[i], profile, rtol=1e-7)
        norm.value, norm.frozen = 0, True
        assert_allclose(values(points, "stat_null")[i], Fit().run([part]).total_stat, rtol=1e-7)


def test_datasets_of_different_bins_are_fitted_together():
    fine = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=12)
    model = power_law()
    datasets = Datasets(
        [make_dataset(name="a", models=model), make_dataset(name="b", axis=fine, exposure=3e14, models=model)]
    )
    points = estimate(datasets, [1, 10, 100] * u.TeV)
    assert_allclose(values(points, "norm"), 1, rtol=1e-6)
    expected = [d.slice_by_energy(1 * u.TeV, 10 * u.TeV).counts.data.sum() for d in datasets]
    assert_allclose(points.counts.data[0].ravel(), expected)
    assert_allclose(values(points, "norm_err")[0], 1 / np.sqrt(sum(expected)), rtol=1e-6)


def test_flux_points_can_be_rebinned():
    points = estimate(make_dataset(), AXIS.edges)
    dataset = FluxPointsDataset(power_law(), points)
    joined = estimate(dataset, [1, 10, 100] * u.TeV)
    weights = 1 / values(points, "norm_err") ** 2
    assert_allclose(values(joined, "norm"), 1, rtol=1e-6)
    assert_allclose(values(joined, "norm_err")[0], weights[:3].sum() ** -0.5, rtol=1e-6)
    assert np.all(np.isnan(joined.counts.data))


@pytest.mark.parametrize("background", [0.0, 1.5])
def test_limits_where_nothing_was_counted(background):
    dataset = make_dataset(np.zeros(6), background=background, exposure=1e13)
    signal = dataset.npred_signal().data.ravel()
    points = estimate(dataset)
    # The statistic is 2 (b + s norm): lowest where no count is expected, with a slope of 2 s.
    assert_allclose(values(points, "norm"), -background / signal, atol=1e-12)
    assert_allclose(values(points, "norm_ul"), (2 - background) / signal, rtol=1e-6)
    assert_allclose(values(points, "norm_errp"), 0.5 / signal, rtol=1e-5)
    assert np.all(np.isnan(values(points, "norm_err")))
    assert np.all(np.isnan(values(points, "norm_errn")))
    assert np.all(points.success.data)
    assert np.all(points.is_ul.data)


def test_limits_where_nothing_was_counted_on_or_off():
    dataset = make_onoff(np.zeros(6), np.zeros(6))
    signal = dataset.npred_signal().data.ravel()
    points = estimate(dataset)
    assert_allclose(values(points, "norm"), 0, atol=1e-9)
    assert_allclose(values(points, "norm_ul"), 2 / signal, rtol=1e-5)


def test_predicted_counts_do_not_become_negative():
    # A deficit in one channel of a bin: the norm ends where the strongest channel predicts nothing.
    dataset = make_dataset([3, 0, 5, 0, 0, 1], background=1.5, exposure=1e13)
    signal = dataset.npred_signal().data.ravel()
    points = estimate(dataset, [1, 10, 100] * u.TeV)
    assert_allclose(values(points, "norm")[1], -1.5 / signal[3])
    assert np.all(dataset.background.data.ravel()[3:] + signal[3:] * values(points, "norm")[1] >= -1e-12)


def test_norm_with_limits_prior_and_scan():
    dataset = make_dataset(np.zeros(6), background=1.5, exposure=1e13)
    signal = dataset.npred_signal().data.ravel()
    points = estimate(dataset, norm={"min": 0, "scan_values": [0, 1, 2, 3]})
    assert_allclose(values(points, "norm"), 0, atol=1e-12)
    assert_allclose(values(points, "norm_ul"), 2 / signal, rtol=1e-6)
    assert_allclose(points.norm_scan, np.tile([0, 1, 2, 3], (6, 1)))
    prior = GaussianPrior(mu=1.2, sigma=1e-3)
    points = estimate(make_dataset(), norm=Parameter("norm", 1, prior=prior, scan_min=0.5, scan_max=2))
    assert_allclose(values(points, "norm"), 1.2, rtol=1e-2)
    # Limits of the source's amplitude hold for the norm.
    dataset = make_dataset(100 * np.ones(6), exposure=1e13)
    dataset.models[0].parameters["amplitude"].max = 2e-12
    assert_allclose(values(estimate(dataset), "norm"), 2)
    assert_allclose(estimate(dataset, norm_min=0.1, norm_max=10, norm_n_values=3).norm_scan[0], [0.1, 1, 10])


def test_bins_without_data():
    dataset = make_dataset()
    dataset.mask_safe = dataset.counts.geom.energy_mask(energy_min=AXIS.edges[2])
    points = estimate(dataset)
    assert points.success.data.ravel().tolist() == [False, False, True, True, True, True]
    assert np.isnan(values(points, "norm")).tolist() == [True, True, False, False, False, False]
    assert_allclose(points.counts.data.ravel()[:2], 0)
    assert_allclose(values(points, "norm")[2:], 1, rtol=1e-6)
    blind = make_dataset(np.ones(6), background=1.0)
    blind.exposure.data[0] = 0
    assert estimate(blind).success.data.ravel().tolist() == [False, True, True, True, True, True]


def test_nothing_is_changed():
    dataset = make_dataset()
    before = dataset.models[0].to_dict()
    estimate(dataset, reoptimize=True)
    assert dataset.models[0].to_dict() == before
    assert not dataset.models[0].parameters["amplitude"].frozen
    assert dataset.mask_fit is None


def test_result_can_be_written_read_and_fitted(tmp_path):
    dataset = make_dataset()
    points = estimate(dataset, n_sigma=2, n_sigma_ul=3)
    assert_allclose(values(points, "norm_err"), 2 * values(estimate(dataset), "norm_err"))
    points.write(tmp_path / "points.fits")
    found = FluxPoints.read(tmp_path / "points.fits")
    assert (found.n_sigma, found.n_sigma_ul) == (2, 3)
    for name in points.available_quantities:
        assert_allclose(values(found, name), values(points, name), rtol=1e-12, err_msg=name)
    # A fit of the profiles is the fit of the counts.
    model = power_law(index=2.2, amplitude=1.2e-12)
    result = Fit().run([FluxPointsDataset(model, found, stat_type="profile")])
    assert result.success
    truth = power_law()
    dataset.models = truth
    Fit().run([dataset])
    spectrum, expected = model.spectral_model, truth.spectral_model
    assert_allclose(spectrum.index.value, 2, atol=0.02 * expected.index.error)
    assert_allclose(spectrum.index.error, expected.index.error, rtol=0.05)


def test_pulls_of_many_bins_are_normal():
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=400)
    # Exposure that makes for some hundred counts in each bin.
    dataset = make_dataset(axis=axis, exposure=1e17, background=50.0)
    dataset.fake(3)
    points = estimate(dataset, axis.edges, selection_optional=["errn-errp", "ul"])
    pulls = (values(points, "norm") - 1) / values(points, "norm_err")
    assert abs(pulls.mean()) < 3 / np.sqrt(400)
    assert abs(pulls.std() - 1) < 3 / np.sqrt(800)
    covered = (values(points, "norm") - values(points, "norm_errn") < 1) & (
        values(points, "norm") + values(points, "norm_errp") > 1
    )
    assert abs(covered.mean() - 0.683) < 3 * np.sqrt(0.683 * 0.317 / 400)
    assert abs((values(points, "norm_ul") > 1).mean() - 0.977) < 3 * np.sqrt(0.977 * 0.023 / 400)


def test_bad_input_is_named():
    dataset = make_dataset()
    with pytest.raises(ModelError, match=r"no model 'sorce'\. Did you mean 'source'"):
        estimate(dataset, source="sorce")
    with pytest.raises(ModelError, match="no model number 3"):
        estimate(dataset, source=3)
    with pytest.raises(ConfigError, match="unknown selection_optional 'errors'"):
        estimate(dataset, selection_optional=["errors"])
    with pytest.raises(ConfigError, match="unit of energy"):
        estimate(dataset, [1, 2] * u.s)
    with pytest.raises(ConfigError, match="increasing energy_edges"):
        estimate(dataset, [2, 1] * u.TeV)
    with pytest.raises(ConfigError, match="positive n_sigma"):
        estimate(dataset, n_sigma=0)
    with pytest.raises(ConfigError, match="unknown setting"):
        estimate(dataset, norm={"minimum": 0})
    with pytest.raises(ConfigError, match="Parameter or dict as norm"):
        estimate(dataset, norm=2.0)
    with pytest.raises(DataError, match="no bin of the data, which reach from 1 to 100 TeV"):
        estimate(dataset, [200, 300] * u.TeV)
    dataset.models = power_law(datasets_names=["other"])
    with pytest.raises(FitError, match="no models"):
        estimate(dataset)


def test_text_and_settings():
    estimator = FluxPointsEstimator([1, 10] * u.TeV, source="crab", selection_optional="all")
    assert estimator.selection_optional == ["errn-errp", "ul", "scan"]
    assert "crab" in str(estimator)
    copy = estimator.copy()
    copy.selection_optional = None
    assert copy.config_parameters["selection_optional"] == []
    assert estimator.selection_optional
    estimator.norm.scan_n_values = 5
    assert estimate(make_dataset(), norm=estimator.norm).norm_scan.shape == (6, 5)
