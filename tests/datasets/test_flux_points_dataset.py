"""Flux points as data of a fit: statistics in closed form and as Gammapy's, masks, files, plots."""

import json
from pathlib import Path

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table
from dataset_toys import spectrum_dataset
from numpy.testing import assert_allclose
from scipy.special import log_ndtr

from villard.datasets import Datasets, FluxPointsDataset
from villard.estimators import FluxPoints
from villard.exceptions import DataError, FitError
from villard.likelihood import bind
from villard.modeling import Fit
from villard.modeling.models import PowerLawSpectralModel, SkyModel, create_crab_spectral_model

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "flux_points.json").read_text())
UNIT = u.Unit("cm-2 s-1 TeV-1")


def power_law(index=2.0, amplitude=1e-12, name="source"):
    return SkyModel(PowerLawSpectralModel(index=index, amplitude=amplitude * UNIT), name=name)


def make_points(values=(1.0, 0.2, 0.04, 0.01, np.nan), **columns):
    table = Table({"e_ref": [1.0, 2, 5, 10, 20] * u.TeV, "dnde": np.array(values) * 1e-12 * UNIT})
    table["dnde_err"] = np.array([0.1, 0.02, 0.01, 0.008, np.nan]) * 1e-12 * UNIT
    table["dnde_errn"], table["dnde_errp"] = (
        0.9 * table["dnde_err"].quantity,
        1.2 * table["dnde_err"].quantity,
    )
    table["dnde_ul"] = np.array([1.2, 0.24, 0.06, 0.02, 0.01]) * 1e-12 * UNIT
    table["is_ul"] = [False, False, False, True, True]
    for name, column in columns.items():
        table[name] = column
    table.meta["UL_CONF"] = 0.9544997
    return FluxPoints.from_table(table, "dnde")


def make_dataset(models=None, **kwargs):
    return FluxPointsDataset(
        power_law() if models is None else models, make_points(), name="points", **kwargs
    )


def test_chi2_in_closed_form():
    dataset = make_dataset()
    model = np.array([1, 0.25, 0.04, 0.01])
    expected = ((np.array([1, 0.2, 0.04, 0.01]) - model) / [0.1, 0.02, 0.01, 0.008]) ** 2
    assert_allclose(dataset.stat_array().ravel()[:4], expected, atol=1e-12)
    assert np.isnan(dataset.stat_array()[4])
    # Upper limits don't enter.
    assert dataset.mask.data.ravel().tolist() == [True, True, True, False, False]
    assert_allclose(dataset.stat_sum(), expected[:3].sum())
    assert_allclose(dataset.flux_pred().value.ravel()[:4], model * 1e-12)


def test_asymmetric_errors_and_censored_limits_in_closed_form():
    dataset = make_dataset(power_law(amplitude=1.1e-12), stat_type="censored")
    model = 1.1 * np.array([1, 0.25, 0.04, 0.01, 0.0025])
    # The model is above the first three points, by errp = 1.2 err.
    expected = (([1, 0.2, 0.04] - model[:3]) / (1.2 * np.array([0.1, 0.02, 0.01]))) ** 2
    # Limits: one with an error of its own, one at 2 sigma on no flux.
    limits = -2 * log_ndtr((np.array([0.02, 0.01]) - model[3:]) / [0.008, 0.005])
    assert_allclose(dataset.stat_array().ravel(), [*expected, *limits], rtol=1e-10)
    assert np.all(dataset.mask.data)


def test_an_error_that_is_not_given_is_the_other_kind():
    nothing = np.full(5, np.nan) * UNIT
    symmetric = FluxPointsDataset(power_law(), make_points(dnde_errn=nothing), stat_type="distrib")
    assert_allclose(symmetric.measurement().data["errn"][:3], [1e-13, 2e-14, 1e-14])
    asymmetric = FluxPointsDataset(power_law(), make_points(dnde_err=nothing))
    assert_allclose(asymmetric.measurement().data["error"][:3], 1.05 * np.array([1e-13, 2e-14, 1e-14]))


@pytest.mark.parametrize("amplitude", [4e-11, 5.2e-11])
@pytest.mark.parametrize("stat_type", ["chi2", "distrib"])
def test_statistics_are_those_of_gammapy(stat_type, amplitude, gammapy_data):
    points = FluxPoints.read(gammapy_data / "estimators/crab_hess_fp/crab_hess_fp.fits")
    dataset = FluxPointsDataset(power_law(2.5, amplitude), points, stat_type=stat_type)
    expected = REFERENCE["stat_crab_hess"][f"{stat_type} {amplitude:g}"]
    assert_allclose(dataset.stat_array().ravel()[1:], expected, rtol=1e-9)
    assert_allclose(dataset.stat_sum(), np.sum(expected), rtol=1e-9)


@pytest.mark.parametrize("stat_type", ["chi2", "distrib"])
def test_fit_is_that_of_gammapy(stat_type, gammapy_data):
    points = FluxPoints.read(gammapy_data / "tests/spectrum/flux_points/diff_flux_points.fits")
    model = power_law(2.3, 2e-13)
    result = Fit().run([FluxPointsDataset(model, points, stat_type=stat_type)])
    assert result.success
    expected = REFERENCE["fit_diff_flux_points"][stat_type]
    assert_allclose(result.total_stat, expected["total_stat"], rtol=1e-5)
    for name in set(expected) - {"total_stat"}:
        assert_allclose(
            model.parameters[name].value, expected[name], rtol=REFERENCE["fit_diff_flux_points"]["rtol"]
        )


def test_crab_model_of_a_joint_fit_on_the_points_of_hawc(gammapy_data):
    points = FluxPoints.read(
        gammapy_data / "hawc/crab_flux/HAWC19_flux_points.fits",
        reference_model=create_crab_spectral_model("meyer"),
    )
    dataset = FluxPointsDataset(SkyModel(create_crab_spectral_model("meyer"), name="crab"), points)
    # One of ten points is an upper limit.
    assert dataset.mask.data.sum() == 9
    value, error = points.quantity("dnde")[:9], points.quantity("dnde_err")[:9]
    pull = (value - create_crab_spectral_model("meyer")(points.energy_ref[:9])) / error
    assert_allclose(dataset.stat_sum(), np.sum(pull.to_value("") ** 2))


def test_fit_of_profiles_returns_to_the_counts_behind_them():
    # Profiles of Poisson counts without background: the fit of the norms must be that of the counts.
    counts, expected = np.array([400.0, 120, 30, 8]), np.array([380.0, 130, 33, 7])
    best = counts / expected
    norm = np.geomspace(0.2, 5, 21)
    scan = 2 * (expected[:, None] * norm - counts[:, None] * np.log(norm))
    reference = power_law(2.2)
    energy = [1, 2, 5, 10] * u.TeV
    table = Table({"e_ref": energy, "norm": best, "stat": 2 * (counts - counts * np.log(best))})
    table["norm_scan"], table["stat_scan"] = np.tile(norm, (4, 1)), scan
    points = FluxPoints.from_table(table, "likelihood", reference_model=reference)
    model = power_law(2.0)
    result = Fit().run([FluxPointsDataset(model, points, stat_type="profile")])
    assert result.success

    from scipy.optimize import minimize

    def stat(parameters):
        ratio = parameters[0] * energy.value ** -(parameters[1] - 2.2)
        return np.sum(2 * (expected * ratio - counts - counts * np.log(expected * ratio / counts)))

    truth = minimize(stat, [1.0, 2.2], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9})
    spectrum = model.spectral_model
    assert_allclose(
        spectrum.amplitude.value / 1e-12, truth.x[0], atol=0.01 * spectrum.amplitude.error / 1e-12
    )
    assert_allclose(spectrum.index.value, truth.x[1], atol=0.01 * spectrum.index.error)
    assert_allclose(result.total_stat, truth.fun, atol=2e-3)


def test_profiles_of_different_lengths_fit_together():
    datasets = []
    for name, n in (("a", 9), ("b", 15)):
        table = Table({"e_ref": [1.0, 10] * u.TeV, "norm": [1.0, 1.0]})
        table["norm_scan"] = np.tile(np.linspace(0, 2, n), (2, 1))
        table["stat_scan"] = ((table["norm_scan"] - 1) / 0.1) ** 2
        points = FluxPoints.from_table(table, "likelihood", reference_model=power_law())
        datasets.append(FluxPointsDataset(data=points, stat_type="profile", name=name))
    model = power_law(2.1, 1.2e-12)
    collection = Datasets(datasets)
    collection.models = model
    result = Fit().run(collection)
    assert_allclose(result.total_stat, 0, atol=1e-6)
    assert_allclose(model.spectral_model.amplitude.error, 1e-13 / np.sqrt(2), rtol=1e-5)


def test_likelihood_agrees_with_the_dataset():
    for stat_type in ("chi2", "distrib", "censored"):
        dataset = make_dataset(power_law(2.2, 0.9e-12), stat_type=stat_type)
        assert_allclose(bind([dataset]).stat(), dataset.stat_sum(), rtol=1e-12)


def test_masks():
    dataset = make_dataset(mask_fit=[True, False, True, True, True])
    assert dataset.mask.data.ravel().tolist() == [True, False, True, False, False]
    dataset.mask_safe = dataset.data.geom.energy_mask(2 * u.TeV)
    assert dataset.mask.data.ravel().tolist() == [False, False, True, False, False]
    assert dataset.mask_safe.data.shape == (5, 1, 1)
    assert_allclose(dataset.stat_sum(), 0, atol=1e-12)
    dataset.mask_fit = dataset.mask_safe = None
    assert dataset.mask.data.sum() == 3
    with pytest.raises(DataError, match="mask_fit: expected 5 booleans, found bool of shape"):
        dataset.mask_fit = [True]


def test_residuals():
    dataset = make_dataset()
    assert_allclose(dataset.residuals().data.ravel()[:4], [0, -5e-14, 0, 0], atol=1e-27)
    assert_allclose(dataset.residuals("diff/model").data.ravel()[:4], [0, -0.2, 0, 0], atol=1e-12)
    with pytest.raises(DataError, match="are for counts"):
        dataset.residuals("diff/sqrt(model)")


def test_bad_input_is_named():
    with pytest.raises(DataError, match="expected FluxPoints as data, found NoneType"):
        FluxPointsDataset(power_law())
    with pytest.raises(DataError, match="unknown stat_type 'chi'"):
        make_dataset(stat_type="chi")
    dataset = make_dataset()
    with pytest.raises(DataError, match="no attribute 'mask_saf'"):
        dataset.mask_saf = None
    with pytest.raises(DataError, match="no 'stat_scan'"):
        make_dataset(stat_type="profile").stat_sum()
    bad = FluxPointsDataset(power_law(), make_points(dnde_err=np.zeros(5) * UNIT), name="bad")
    with pytest.raises(DataError, match=r"'bad': expected a positive error of the point at 1 TeV, found 0"):
        bad.stat_sum()
    points = make_points()
    del points.meta["n_sigma_ul"]
    with pytest.raises(DataError, match="UL_CONF"):
        FluxPointsDataset(power_law(), points, stat_type="censored").stat_sum()
    dataset.mask_fit = np.zeros(5, dtype=bool)
    with pytest.raises(FitError, match="'points': the fit range is empty"):
        Fit().run([dataset])


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
def test_file_keeps_points_masks_and_statistic(suffix, tmp_path):
    dataset = make_dataset(stat_type="distrib", mask_fit=[True, False, True, True, True])
    dataset.write(tmp_path / f"points.{suffix}")
    found = FluxPointsDataset.read(tmp_path / f"points.{suffix}", name="again")
    found.models = power_law()
    assert found.name == "again"
    assert_allclose(found.stat_sum(), dataset.stat_sum(), rtol=1e-12)
    assert found.mask_fit.data.ravel().tolist() == [True, False, True, True, True]
    assert found.stat_type == "distrib"


def test_yaml_with_other_datasets(tmp_path):
    datasets = Datasets([make_dataset(stat_type="distrib"), spectrum_dataset()])
    datasets.models = power_law()
    datasets.write(tmp_path / "datasets.yaml", filename_models=tmp_path / "models.yaml")
    found = Datasets.read(tmp_path / "datasets.yaml", filename_models=tmp_path / "models.yaml")
    assert [type(d).__name__ for d in found] == ["FluxPointsDataset", "SpectrumDataset"]
    assert_allclose(found["points"].stat_sum(), datasets["points"].stat_sum(), rtol=1e-12)


def test_copies_and_slices_share_nothing():
    dataset = make_dataset(mask_fit=[True, False, True, True, True], stat_type="distrib")
    copy = dataset.copy(name="copy")
    assert copy.models is None
    assert copy.stat_type == "distrib"
    copy.data.norm.data[...] = 0
    assert dataset.data.norm.data[0] > 0
    part = dataset.slice_by_energy(1.5 * u.TeV, 12 * u.TeV, name="part")
    assert part.data.energy_ref.value.tolist() == [2, 5, 10]
    assert part.mask_fit.data.ravel().tolist() == [False, True, True]
    low, high = dataset.energy_range
    assert low.quantity < 1 * u.TeV < 20 * u.TeV < high.quantity
    assert Datasets([dataset]).slice_by_energy(1.5 * u.TeV, 12 * u.TeV)[0].models.names == ["source"]


def test_text():
    text = str(make_dataset(stat_type="distrib"))
    assert "Points in the fit : 5" in text
    assert "distrib" in text
    assert "source" in text
    assert "no models" in str(FluxPointsDataset(data=make_points()))


def test_plots():
    dataset = make_dataset()
    dataset.models[0].parameters["amplitude"].error = 1e-13
    ax, residuals = dataset.plot_fit()
    assert residuals.get_ylabel() == "(data - model)\n/ model"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == ["Model source", "points"]
    x, y = residuals.containers[0].lines[0].get_data()
    assert x.tolist() == [1, 2, 5]
    assert_allclose(y, [0, -0.2, 0], atol=1e-12)
    plt.figure()
    dataset.plot_residuals(method="diff")
    plt.figure()
    dataset.models = None
    assert dataset.plot_spectrum(kwargs_fp={"sed_type": "dnde"}) is plt.gca()
