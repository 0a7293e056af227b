import astropy.units as u
import numpy as np
import pytest
from dataset_toys import AXIS, GEOM, as_map, onoff_dataset, power_law, spectrum_dataset
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from villard.datasets import SpectrumDatasetOnOff
from villard.exceptions import DataError
from villard.maps import RegionNDMap

COUNTS = st.lists(st.integers(0, 50), min_size=4, max_size=4)


def test_alpha_background_excess():
    dataset = onoff_dataset(counts_off=[0, 10, 4, 0], acceptance=[1, 2, 0, 1], acceptance_off=[5, 5, 0, 4])
    assert_allclose(dataset.alpha.data.ravel(), [0.2, 0.4, 0, 0.25])
    assert_allclose(dataset.background.data.ravel(), [0, 4, 0, 0])
    assert_allclose(dataset.counts_off_normalised.data, dataset.background.data)
    assert_allclose(dataset.excess.data.ravel(), [5, -1, 2, 1])


@given(counts=COUNTS, counts_off=COUNTS, alpha=st.floats(0.05, 2))
def test_the_background_is_the_most_likely_one(counts, counts_off, alpha):
    dataset = onoff_dataset(counts, counts_off, acceptance=alpha, acceptance_off=1, models=power_law())
    mu, b = dataset.npred_signal().data.ravel(), dataset.npred_off().data.ravel()
    n, m = np.array(counts), np.array(counts_off)
    assert_allclose(dataset.npred_background().data.ravel(), alpha * b, rtol=1e-12)

    def stat(b):
        on, off = mu + alpha * b, b
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(n > 0, n * np.log(n / on), 0) + np.where(m > 0, m * np.log(m / off), 0)
        return 2 * (on - n + off - m + terms)

    best = stat(b)
    assert_allclose(dataset.stat_array().ravel(), best, rtol=1e-9, atol=1e-9)
    for other in (b * 1.01 + 1e-3, b * 0.99):
        assert np.all(stat(other) >= best - 1e-9)


def test_the_sum_of_signal_and_background_is_npred():
    dataset = onoff_dataset(models=power_law())
    assert_allclose(dataset.npred().data, dataset.npred_signal().data + dataset.npred_background().data)


def test_a_perfect_prediction_has_statistic_zero():
    dataset = onoff_dataset(models=power_law())
    signal = dataset.npred_signal().data
    dataset.counts = as_map(signal + 0.2 * dataset.counts_off.data)
    assert_allclose(dataset.stat_array(), 0, atol=1e-10)
    assert_allclose(dataset.npred().data, dataset.counts.data, rtol=1e-10)


def li_ma(n_on, n_off, alpha):
    on = n_on * np.log((1 + alpha) / alpha * n_on / (n_on + n_off))
    off = n_off * np.log((1 + alpha) * n_off / (n_on + n_off))
    return np.sqrt(2 * (on + off)) * np.sign(n_on - alpha * n_off)


@pytest.mark.parametrize(("counts", "off"), [([5, 3, 2, 1], [4, 10, 4, 2]), ([0, 1, 0, 0], [10, 20, 3, 5])])
def test_significance_of_li_and_ma(counts, off):
    info = onoff_dataset(counts, off).info_dict()
    assert_allclose(info["sqrt_ts"], li_ma(sum(counts), sum(off), 0.2), rtol=1e-10)
    assert_allclose([info["alpha"], info["acceptance"], info["acceptance_off"]], [0.2, 4, 20])
    assert info["counts_off"] == sum(off)


def test_alpha_of_all_bins_is_weighted_with_their_off_counts():
    # As observed in Gammapy 2.1 for the same numbers.
    info = onoff_dataset(
        [2, 3, 7, 1], [0, 3, 4, 9], [1, 2, 1, 1], [10, 5, 5, 8], [True, True, False, True]
    ).info_dict()
    assert_allclose(
        [info["alpha"], info["acceptance_off"], info["background"]], [0.19375, 20.645161, 2.325], rtol=1e-6
    )


def test_fake_follows_signal_and_background():
    dataset = onoff_dataset(models=power_law(amplitude=1e-11), counts=[0] * 4, counts_off=[0] * 4)
    background = as_map([10.0, 5, 2, 1])
    signal = dataset.npred_signal().data
    rng = np.random.default_rng(1)
    on, off = [], []
    for _ in range(400):
        dataset.fake(background, random_state=rng)
        on.append(dataset.counts.data)
        off.append(dataset.counts_off.data)
    for draws, mu in [(on, signal + background.data), (off, 5 * background.data)]:
        assert np.all(np.abs(np.mean(draws, axis=0) - mu) < 5 * np.sqrt(mu / 400))


def test_fake_without_off_region_is_an_error():
    dataset = onoff_dataset(acceptance_off=[0, 5, 5, 5])
    with pytest.raises(DataError, match="'toy': there is background in bins without"):
        dataset.fake(as_map([1.0] * 4))


def test_bins_without_off_region_cant_be_fitted():
    dataset = onoff_dataset(acceptance_off=[0, 5, 5, 5])
    assert np.isinf(dataset.alpha.data[0])
    with pytest.raises(DataError, match="'toy': alpha has non-finite values in the fit range"):
        dataset.stat_sum()
    dataset.mask_safe = as_map([False, True, True, True])
    assert np.isfinite(dataset.stat_sum())


def test_to_and_from_spectrum_dataset():
    dataset = onoff_dataset(models=power_law())
    spectrum = dataset.to_spectrum_dataset(name="known")
    assert (spectrum.tag, spectrum.name, spectrum.models) == ("SpectrumDataset", "known", None)
    assert_allclose(spectrum.background.data, dataset.background.data)
    back = SpectrumDatasetOnOff.from_spectrum_dataset(spectrum, acceptance=1, acceptance_off=5)
    assert back.name == "known"
    assert_allclose(back.counts_off.data, dataset.counts_off.data)
    back.models = dataset.models
    assert_allclose(back.stat_sum(), dataset.stat_sum())
    off = as_map([1.0, 2, 3, 4])
    other = SpectrumDatasetOnOff.from_spectrum_dataset(
        spectrum_dataset(), 1, as_map([5.0] * 4), counts_off=off, name="x"
    )
    assert other.name == "x"
    assert other.counts_off.data.sum() == 10


def test_a_known_background_of_much_off_data_gives_the_same_signal():
    # With alpha to 0 at a fixed background, wstat becomes cstat with that background.
    dataset = onoff_dataset(counts_off=np.array([4, 10, 4, 2]) * 1e6, acceptance_off=5e6, models=power_law())
    known = dataset.to_spectrum_dataset()
    known.stat_type, known.models = "cstat", dataset.models
    assert_allclose(dataset.stat_sum(), known.stat_sum(), rtol=1e-4)


def test_create_and_fill():
    dataset = SpectrumDatasetOnOff.create(GEOM, name="new")
    assert dataset.counts_off.data.sum() == dataset.acceptance.data.sum() == 0
    assert dataset.stat_type == "wstat"
    assert dataset.stat_sum() == 0
    assert "Total counts_off" in str(dataset)


def test_only_responses_are_needed_to_predict():
    parts = onoff_dataset()
    dataset = SpectrumDatasetOnOff(
        exposure=parts.exposure, edisp=parts.edisp, acceptance=1, acceptance_off=5, name="sim"
    )
    dataset.models = power_law()
    assert dataset.npred_signal().data.shape == (4, 1, 1)
    dataset.fake(as_map([1.0] * 4), random_state=0)
    assert np.isfinite(dataset.stat_sum())


def test_background_cant_be_set():
    with pytest.raises(DataError, match="'toy': the background of an on/off dataset follows"):
        onoff_dataset().background = as_map([1.0] * 4)


def test_missing_off_counts_are_named():
    dataset = onoff_dataset()
    dataset.counts_off = None
    assert dataset.background is None
    with pytest.raises(DataError, match="'toy': counts_off is needed here, but not set"):
        dataset.stat_sum()
    assert np.isnan(dataset.info_dict()["stat_sum"])


def test_resampling_keeps_the_background():
    dataset = onoff_dataset(acceptance=[1, 2, 1, 1], acceptance_off=[10, 5, 5, 8], models=power_law())
    joined = dataset.resample_energy_axis(AXIS.downsample(2))
    background = dataset.background.data.ravel()
    assert_allclose(joined.background.data.ravel(), [background[:2].sum(), background[2:].sum()])
    assert joined.acceptance.data.ravel().tolist() == [3, 2]
    joined.models = dataset.models
    assert_allclose(joined.npred_signal().data.sum(), dataset.npred_signal().data.sum(), rtol=1e-12)
    empty = onoff_dataset(counts_off=[0, 0, 0, 0]).resample_energy_axis(AXIS.downsample(2))
    assert_allclose(empty.alpha.data.ravel(), 0.2)


def test_slices_have_all_maps():
    part = onoff_dataset().slice_by_energy(1 * u.TeV, 3 * u.TeV)
    for name in ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe"):
        assert isinstance(getattr(part, name), RegionNDMap)
        assert getattr(part, name).data.shape == (2, 1, 1)
