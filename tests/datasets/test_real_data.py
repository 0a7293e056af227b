"""Published spectra of five instruments against the numbers of Gammapy 2.1."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from dataset_toys import power_law
from numpy.testing import assert_allclose

from villard.datasets import Datasets, SpectrumDataset, SpectrumDatasetOnOff
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling.models import LogParabolaSpectralModel, PowerLawSpectralModel, SkyModel

FILES = list(
    json.loads((Path(__file__).parents[1] / "reference" / "datasets_gammapy.json").read_text())["files"]
)


@pytest.fixture
def runs(gammapy_data):
    path = "$GAMMAPY_DATA/joint-crab/spectra/hess/pha_obs{}.fits"
    return Datasets(
        [SpectrumDatasetOnOff.read(path.format(obs_id)) for obs_id in (23523, 23526, 23559, 23592)]
    )


def check(info, expected):
    for key, value in expected.items():
        if key == "livetime":
            assert_allclose(info[key].to_value("s"), value, rtol=1e-9)
        else:
            assert_allclose(info[key], value, rtol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", FILES)
def test_every_file_reads_and_predicts_as_in_gammapy(gammapy_data, reference, name):
    dataset = SpectrumDatasetOnOff.read(gammapy_data / name)
    expected = dict(reference["files"][name])
    dataset.models = power_law(2.4, 3e-11)
    assert_allclose(dataset.edisp.pdf_matrix.sum(), expected.pop("edisp_sum"), rtol=1e-6)
    assert_allclose(
        dataset.info_dict()["exposure_max"].to_value("cm2 s"), expected.pop("exposure_max_cm2_s"), rtol=1e-6
    )
    check(dataset.info_dict(), expected)


@pytest.mark.parametrize("format", ["ogip", "ogip-sherpa", "gadf"])
@pytest.mark.parametrize("name", FILES)
def test_every_file_comes_back_after_writing(gammapy_data, tmp_path, name, format):
    dataset = SpectrumDatasetOnOff.read(gammapy_data / name)
    dataset.write(tmp_path / "pha_copy.fits", format=format)
    copy = SpectrumDatasetOnOff.read(tmp_path / "pha_copy.fits")
    dataset.models = copy.models = power_law(2.4, 3e-11)
    assert copy.name == dataset.name
    assert_allclose(copy.stat_sum(), dataset.stat_sum(), rtol=1e-12)
    assert_allclose(copy.npred().data, dataset.npred().data, rtol=1e-10)
    assert copy.info_dict()["acceptance"] == dataset.info_dict()["acceptance"]
    assert copy.counts.geom == dataset.counts.geom


def test_names_are_those_of_the_observations(gammapy_data):
    folder = gammapy_data / "joint-crab" / "spectra"
    assert SpectrumDatasetOnOff.read(folder / "hess" / "pha_obs23523.fits").name == "23523"
    # A stack has the OBS_ID of each of its runs.
    assert SpectrumDatasetOnOff.read(folder / "fact" / "pha_stacked.fits").name == "pha_stacked"
    assert SpectrumDatasetOnOff.read(folder / "hess" / "pha_obs23523.fits", name="run").name == "run"


def test_the_stack_of_four_runs(runs, reference):
    stacked = runs.stack_reduce(name="hess")
    stacked.models = power_law(2.4, 3e-11)
    expected = dict(reference["stack4"])
    per_bin = expected.pop("acceptance_off_per_bin")
    check(stacked.info_dict(), expected)
    assert_allclose(stacked.acceptance_off.data.ravel(), per_bin, rtol=1e-6)


def test_the_table_of_runs(runs, reference):
    table = runs.info_table(cumulative=True)
    for key, values in reference["cumulative"].items():
        assert_allclose(table[key], values, rtol=1e-6, err_msg=key)
    assert runs.info_table()["counts"].tolist() == [124, 126, 119, 90]
    assert_allclose(table["livetime"].quantity[-1].to_value("s"), 6313.8116406202325, rtol=1e-9)


def test_rebinned_and_sliced_stacks(runs, reference):
    stacked = runs[:2].stack_reduce(name="hess")
    expected = reference["resampled"]
    joined = stacked.resample_energy_axis(MapAxis.from_energy_edges(expected["edges_TeV"] * u.TeV))
    joined.models = power_law(2.4, 3e-11)
    assert_allclose(joined.counts.geom.axes["energy"].edges.to_value("TeV"), expected["edges_found_TeV"])
    for key in ("counts", "counts_off", "acceptance", "acceptance_off", "npred_signal"):
        value = getattr(joined, key)
        value = value() if callable(value) else value
        assert_allclose(value.data.ravel(), expected[key], rtol=1e-6, err_msg=key)
    assert_allclose(joined.stat_sum(), expected["stat_sum"], rtol=1e-6)
    part = joined.slice_by_energy(1 * u.TeV, 10 * u.TeV)
    part.models = joined.models
    assert part.counts.data.ravel().tolist() == reference["sliced"]["counts"]
    assert_allclose(part.stat_sum(), reference["sliced"]["stat_sum"], rtol=1e-6)


def test_the_published_minimum(runs):
    # H.E.S.S. Crab runs 23523 and 23526, 0.66 to 30 TeV: -2 ln L at the log-parabola of the best fit.
    stacked = runs[:2].stack_reduce(name="HESS")
    stacked.mask_fit = stacked.counts.geom.energy_mask(0.66 * u.TeV, 30 * u.TeV)
    spectrum = LogParabolaSpectralModel(
        amplitude="3.8122e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.1958, beta=0.2265
    )
    stacked.models = SkyModel(spectrum, name="crab")
    info = stacked.info_dict()
    assert (info["counts"], info["counts_off"], info["n_fit_bins"]) == (250, 195, 32)
    assert_allclose(stacked.stat_sum(), 30.349531, rtol=1e-7)
    assert np.all(np.isfinite(stacked.residuals(method="diff").data))


def test_predictions_at_the_minimum(runs, reference):
    expected = reference["crab1d.tutorial.npred"]
    amplitude, alpha, beta = expected["inputs"]["point"]
    stacked = runs[:2].stack_reduce(name="HESS")
    stacked.mask_fit = stacked.counts.geom.energy_mask(0.66 * u.TeV, 30 * u.TeV)
    spectrum = LogParabolaSpectralModel(
        amplitude=amplitude * u.Unit("cm-2 s-1 TeV-1"), reference="1 TeV", alpha=alpha, beta=beta
    )
    stacked.models = SkyModel(spectrum, name="crab")
    # Gammapy integrates a log-parabola by the trapezoidal rule, to some 1e-5.
    npred = stacked.npred_signal().data[stacked.mask.data]
    assert_allclose(npred, expected["expected"], rtol=1e-4)


def test_prediction_with_background(runs, reference):
    best = reference["crab1d.23523.pl"]["expected"]
    run = runs["23523"]
    run.models = power_law(best["index"], best["amplitude"])
    assert_allclose(run.stat_sum(), best["total_stat"], rtol=1e-4)
    assert_allclose(run.npred().data[60, 0, 0], reference["crab1d.23523.npred60"]["expected"], rtol=1e-3)


# Spectra without instrument, checked with sherpa


def synthetic(inputs):
    edges = inputs["energy_edges_TeV"] * u.TeV
    axis = MapAxis.from_energy_edges(edges)
    geom, true = RegionGeom(None, axes=[axis]), RegionGeom(None, axes=[axis.copy(name="energy_true")])
    maps = {
        key: RegionNDMap(geom, data=inputs[f"counts_{key}"])
        for key in ("src", "bkg", "off", "on")
        if f"counts_{key}" in inputs
    }
    return maps, RegionNDMap(true, data=np.ones(axis.nbin), unit="cm2 s")


def test_cash_without_instrument(reference):
    entry = reference["fit.synthetic.cash"]
    maps, exposure = synthetic(entry["inputs"])
    spectrum = PowerLawSpectralModel(index=2, amplitude="1e5 cm-2 s-1 TeV-1", reference="0.1 TeV")
    dataset = SpectrumDataset(
        counts=maps["src"], exposure=exposure, name="toy", models=SkyModel(spectrum, name="x")
    )
    assert_allclose(dataset.npred().data[5, 0, 0], entry["expected"]["npred5"], rtol=1e-6)
    assert_allclose(dataset.stat_sum(), entry["expected"]["stat_true"], rtol=1e-9)


def test_wstat_without_instrument(reference):
    entry = reference["fit.synthetic.wstat"]
    maps, exposure = synthetic(entry["inputs"])
    best = entry["expected"]
    spectrum = PowerLawSpectralModel(
        index=best["index"], amplitude=best["amplitude"] * u.Unit("cm-2 s-1 TeV-1"), reference="0.1 TeV"
    )
    dataset = SpectrumDatasetOnOff(
        counts=maps["on"],
        counts_off=maps["off"],
        acceptance=1,
        acceptance_off=10,
        exposure=exposure,
        name="toy",
    )
    dataset.models = SkyModel(spectrum, name="x")
    assert_allclose(dataset.stat_sum(), best["total_stat"], rtol=1e-7)
