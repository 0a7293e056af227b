import astropy.units as u
import numpy as np
import pytest
from dataset_toys import AXIS, AXIS_TRUE, GEOM, as_map, exposure, onoff_dataset, power_law, spectrum_dataset
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from villard.data.gti import GTI
from villard.datasets import Datasets, SpectrumDataset, SpectrumDatasetOnOff
from villard.exceptions import DataError
from villard.maps import MapAxis

MAPS = ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe")

counts = st.lists(st.integers(0, 30), min_size=4, max_size=4)
acceptances = st.lists(st.floats(0.5, 20), min_size=4, max_size=4)
masks = st.lists(st.booleans(), min_size=4, max_size=4)


@st.composite
def runs(draw, name):
    return onoff_dataset(
        draw(counts),
        draw(counts),
        draw(acceptances),
        draw(acceptances),
        draw(masks),
        livetime=draw(st.floats(1, 1e4)),
        sigma=draw(st.floats(0.05, 0.5)),
        name=name,
    )


def masked(dataset, values):
    return np.where(dataset.mask_safe.data, values.data, 0)


@given(runs("a"), runs("b"), runs("c"), st.floats(1.5, 4))
def test_the_stack_is_the_sum_within_the_masks(a, b, c, index):
    datasets = Datasets([a, b, c])
    datasets.models = power_law(index=index)
    stacked = datasets.stack_reduce(name="stack")
    stacked.models = datasets.models
    for name in ("counts", "counts_off", "background", "excess", "acceptance"):
        expected = sum(masked(d, getattr(d, name)) for d in datasets)
        assert_allclose(getattr(stacked, name).data, expected, rtol=1e-10, atol=1e-12, err_msg=name)
    npred = sum(masked(d, d.npred_signal()) for d in datasets)
    assert_allclose(stacked.npred_signal().data, npred, rtol=1e-10)
    assert_allclose(stacked.exposure.data, sum(d.exposure.data for d in datasets), rtol=1e-12)
    assert_allclose(stacked.livetime.value, sum(d.livetime.value for d in datasets))
    assert np.array_equal(stacked.mask_safe.data, a.mask_safe.data | b.mask_safe.data | c.mask_safe.data)
    assert np.all(np.isfinite(stacked.alpha.data))


@given(runs("a"), runs("b"), runs("c"))
def test_the_order_doesnt_matter(a, b, c):
    one, other = Datasets([a, b, c]).stack_reduce("x"), Datasets([c, a, b]).stack_reduce("x")
    for name in MAPS:
        assert_allclose(getattr(one, name).data, getattr(other, name).data, rtol=1e-9, err_msg=name)
    assert_allclose(one.edisp.pdf_matrix, other.edisp.pdf_matrix, rtol=1e-9, atol=1e-15)


@given(runs("a"))
def test_stacking_equal_runs_doubles_them(a):
    stacked = Datasets([a, a.copy(name="b")]).stack_reduce()
    single = a.to_masked()
    for name in MAPS[:3]:
        assert_allclose(getattr(stacked, name).data, 2 * getattr(single, name).data)
    assert_allclose(stacked.edisp.pdf_matrix, single.edisp.pdf_matrix)


def test_the_numbers_of_gammapy(reference):
    toy = reference["stack_toy"]
    datasets = [onoff_dataset(**toy[key], name=key) for key in ("first", "second")]
    stacked = Datasets(datasets).stack_reduce(name="stack")
    for name, expected in toy["stacked"].items():
        # Gammapy keeps acceptances with 32 bit.
        assert_allclose(getattr(stacked, name).data.ravel(), expected, rtol=3e-7, err_msg=name)


def test_without_any_off_counts_acceptances_are_added_up():
    zero = [0, 0, 0, 0]
    datasets = [
        onoff_dataset(counts_off=zero, name="a"),
        onoff_dataset(counts_off=zero, acceptance_off=10, name="b"),
    ]
    stacked = Datasets(datasets).stack_reduce()
    assert_allclose(stacked.alpha.data.ravel(), 2 / 15)
    assert np.isfinite(stacked.stat_sum())


def test_known_backgrounds_are_added_up():
    one = spectrum_dataset(mask_safe=as_map([False, True, True, True]), name="a")
    two = spectrum_dataset(background=None, name="b")
    stacked = Datasets([one, two]).stack_reduce(name="stack")
    assert_allclose(stacked.background.data.ravel(), [0, 0.5, 0.2, 0.1])
    assert_allclose(stacked.counts.data.ravel(), [5, 6, 4, 2])
    assert stacked.mask_safe.data.all()
    reverse = Datasets([two, one]).stack_reduce()
    assert_allclose(reverse.background.data, stacked.background.data)
    assert reverse.mask_safe is None


def test_stack_fills_an_empty_dataset():
    dataset = SpectrumDatasetOnOff.create(GEOM, energy_axis_true=AXIS_TRUE, name="total")
    run = onoff_dataset(mask_safe=[False, True, True, True])
    dataset.stack(run)
    single = run.to_masked()
    for name in MAPS:
        assert_allclose(getattr(dataset, name).data, getattr(single, name).data)
    dataset.models = single.models = power_law()
    assert_allclose(dataset.npred_signal().data, single.npred_signal().data, rtol=1e-12)
    assert dataset.exposure.unit == "m2 s"


def test_the_stacked_dataset_isnt_touched():
    one, two = onoff_dataset(name="a"), onoff_dataset(mask_safe=[False, True, True, True], name="b")
    Datasets([one, two]).stack_reduce()
    assert one.counts.data.sum() == two.counts.data.sum() == 11
    assert one.livetime == two.livetime == 100 * u.s
    assert two.edisp.pdf_matrix[:, 0].sum() > 0


def test_without_energy_dispersion_predictions_are_kept():
    axis_true = AXIS.copy(name="energy_true")
    datasets = [
        spectrum_dataset(edisp=None, exposure=exposure(lt, axis=axis_true), mask_safe=mask, name=name)
        for lt, mask, name in [(100, None, "a"), (300, as_map([False, True, True, True]), "b")]
    ]
    stacked = Datasets(datasets).stack_reduce()
    stacked.models = datasets[0].models = datasets[1].models = power_law()
    expected = datasets[0].npred_signal().data + masked(datasets[1], datasets[1].npred_signal())
    assert_allclose(stacked.npred_signal().data, expected, rtol=1e-12)
    assert Datasets([datasets[0], datasets[0].copy("c")]).stack_reduce().edisp is None


def test_fit_ranges_are_joined():
    one = onoff_dataset(name="a", mask_fit=as_map([False, True, False, False]))
    two = onoff_dataset(
        name="b", mask_fit=as_map([True, False, True, False]), mask_safe=[False, True, True, True]
    )
    assert Datasets([one, two]).stack_reduce().mask_fit.data.ravel().tolist() == [False, True, True, False]
    three = onoff_dataset(name="c", mask_safe=[True, True, False, False])
    assert Datasets([one, three]).stack_reduce().mask_fit.data.ravel().tolist() == [True, True, False, False]
    assert Datasets([three, one]).stack_reduce().mask_fit.data.ravel().tolist() == [True, True, False, False]


def test_good_times_are_joined_if_all_are_known():
    times = [GTI.create([0] * u.s, [100] * u.s), GTI.create([50] * u.s, [200] * u.s)]
    one, two = (onoff_dataset(name=name, gti=gti) for name, gti in zip("ab", times, strict=True))
    assert Datasets([one, two]).stack_reduce().gti.time_sum == 200 * u.s
    assert Datasets([one, onoff_dataset(name="c")]).stack_reduce().gti is None


def test_nan_counts_as_nothing_if_asked():
    bad = onoff_dataset(counts=[np.nan, 1, 1, 1], name="b")
    assert Datasets([onoff_dataset(name="a"), bad]).stack_reduce().counts.data.ravel().tolist() == [
        5,
        4,
        3,
        2,
    ]
    assert np.isnan(Datasets([onoff_dataset(name="a"), bad]).stack_reduce(nan_to_num=False).counts.data[0])


def test_what_cant_be_stacked_is_named():
    axis = MapAxis.from_energy_bounds("1 TeV", "20 TeV", nbin=4)
    other = SpectrumDataset(counts=as_map([1.0] * 4, axis), name="other")
    with pytest.raises(DataError, match="'toy' and 'other': only datasets of one type"):
        Datasets([onoff_dataset(), other]).stack_reduce()
    with pytest.raises(DataError, match="'toy' and 'other': only datasets with the same bins"):
        Datasets([SpectrumDataset(counts=as_map([1.0] * 4), name="toy"), other]).stack_reduce()
    lacking = onoff_dataset(name="lacking")
    lacking.counts_off = None
    with pytest.raises(DataError, match="'lacking' has no counts_off"):
        Datasets([onoff_dataset(), lacking]).stack_reduce()
    with pytest.raises(DataError, match="no datasets to stack"):
        Datasets().stack_reduce()
