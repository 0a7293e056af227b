import astropy.units as u
import numpy as np
import pytest
from dataset_toys import AXIS, AXIS_TRUE, GEOM, as_map, edisp, exposure, power_law, spectrum_dataset
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from villard.datasets import SpectrumDataset
from villard.exceptions import DataError, UnitsError
from villard.irf import EDispKernel
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling.models import GaussianPrior


def power_law_integral(low, high, index, amplitude):
    return amplitude * (low ** (1 - index) - high ** (1 - index)) / (index - 1)


@given(index=st.floats(1.2, 4), log_amplitude=st.floats(-14, -9))
def test_npred_of_a_power_law_is_its_integral_times_exposure(index, log_amplitude):
    amplitude = 10**log_amplitude
    axis_true = AXIS.copy(name="energy_true")
    dataset = spectrum_dataset(
        edisp=None, background=None, exposure=as_map(np.full(4, 3e12), axis_true, unit="cm2 s")
    )
    dataset.models = power_law(index, amplitude)
    edges = AXIS.edges.to_value("TeV")
    expected = 3e12 * power_law_integral(edges[:-1], edges[1:], index, amplitude)
    assert_allclose(dataset.npred_signal().data.ravel(), expected, rtol=1e-12)
    # A diagonal energy dispersion says the same.
    dataset.edisp = EDispKernel.from_diagonal_response(axis_true, AXIS)
    assert_allclose(dataset.npred_signal().data.ravel(), expected, rtol=1e-12)


def test_npred_is_folded_with_the_energy_dispersion():
    dataset = spectrum_dataset(models=power_law(2.0, 1e-12))
    edges = AXIS_TRUE.edges.to_value("TeV")
    true = exposure().data.ravel() * power_law_integral(edges[:-1], edges[1:], 2.0, 1e-12)
    expected = sum(true[i] * edisp().pdf_matrix[i] for i in range(AXIS_TRUE.nbin))
    assert_allclose(dataset.npred_signal().data.ravel(), expected, rtol=1e-12)
    assert_allclose(dataset.npred().data.ravel(), expected + [1, 0.5, 0.2, 0.1], rtol=1e-12)


def test_units_of_exposure_and_axes_dont_matter():
    one = spectrum_dataset(models=power_law())
    axis, axis_true = AXIS.to_unit("keV"), AXIS_TRUE.to_unit("GeV")
    kernel = EDispKernel([axis_true, axis], edisp().pdf_matrix)
    other = spectrum_dataset(
        counts=as_map([5.0, 3, 2, 1], axis),
        background=as_map([1.0, 0.5, 0.2, 0.1], axis),
        exposure=as_map(exposure().data / 3.6e7, axis_true, unit="m2 h"),
        edisp=kernel,
        models=power_law(),
    )
    assert_allclose(other.npred().data, one.npred().data, rtol=1e-10)
    assert_allclose(other.stat_sum(), one.stat_sum(), rtol=1e-10)


def test_cash_is_twice_mu_minus_n_log_mu():
    dataset = spectrum_dataset(models=power_law())
    n, mu = dataset.counts.data, dataset.npred().data
    assert_allclose(dataset.stat_array(), 2 * (mu - n * np.log(mu)), rtol=1e-12)
    assert_allclose(dataset.stat_sum(), dataset.stat_array().sum(), rtol=1e-12)
    dataset.stat_type = "cstat"
    assert_allclose(dataset.stat_array(), 2 * (mu - n + n * np.log(n / mu)), rtol=1e-12)


def test_only_bins_in_both_masks_enter_the_sum():
    dataset = spectrum_dataset(models=power_law())
    total = dataset.stat_array().ravel()
    dataset.mask_safe = as_map([False, True, True, True])
    assert_allclose(dataset.stat_sum(), total[1:].sum())
    dataset.mask_fit = as_map([True, True, False, True])
    assert dataset.mask.data.ravel().tolist() == [False, True, False, True]
    assert_allclose(dataset.stat_sum(), total[1] + total[3])
    dataset.mask_safe = None
    assert dataset.mask is dataset.mask_fit
    assert_allclose(dataset.stat_sum(), total[[0, 1, 3]].sum())


def test_bins_outside_the_mask_may_be_undefined():
    dataset = spectrum_dataset(counts=as_map([np.nan, 3, 2, 1]), mask_safe=as_map([False, True, True, True]))
    assert np.isfinite(dataset.stat_sum())
    dataset.mask_safe = None
    with pytest.raises(DataError, match=r"'toy'.*counts has non-finite values"):
        dataset.stat_sum()


def test_priors_enter_the_statistic_once():
    model = power_law(index=2.0)
    dataset = spectrum_dataset(models=model)
    without = dataset.stat_sum()
    model.spectral_model.index.prior = GaussianPrior(mu=2.5, sigma=0.1)
    # -2 ln of a normalised Gaussian, 5 standard deviations from its mean.
    assert_allclose(dataset.stat_sum() - without, 25.0 + np.log(2 * np.pi * 0.01), rtol=1e-9)


def test_models_of_other_datasets_are_left_out():
    mine, other = power_law(name="mine", datasets_names="toy"), power_law(name="other", datasets_names=["x"])
    dataset = spectrum_dataset(models=[mine, other, power_law(name="all")])
    assert dataset.models.names == ["mine", "all"]
    total = dataset.npred_signal().data
    parts = [dataset.npred_signal(model_names=name).data for name in ("mine", "all")]
    assert_allclose(total, parts[0] + parts[1])
    assert_allclose(dataset.npred_signal(["mine", "all"]).data, total)
    with pytest.raises(DataError, match=r"no model 'mien'. Did you mean 'mine'"):
        dataset.npred_signal("mien")
    dataset.models = None
    assert dataset.models is None
    assert dataset.npred_signal().data.sum() == 0


def test_residuals():
    dataset = spectrum_dataset(models=power_law())
    n, mu = dataset.counts.data, dataset.npred().data
    assert_allclose(dataset.residuals().data, n - mu)
    assert_allclose(dataset.residuals("diff/sqrt(model)").data, (n - mu) / np.sqrt(mu))
    assert_allclose(dataset.residuals(method="diff/model").data, (n - mu) / mu)
    with pytest.raises(DataError, match="residuals 'ratio', expected one of"):
        dataset.residuals("ratio")


def test_fake_counts_are_poisson():
    dataset = spectrum_dataset(models=power_law(amplitude=1e-11))
    mu = dataset.npred().data
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(400):
        dataset.fake(rng)
        draws.append(dataset.counts.data.copy())
    draws = np.array(draws)
    # Mean and variance within 5 standard errors.
    assert np.all(np.abs(draws.mean(axis=0) - mu) < 5 * np.sqrt(mu / 400))
    assert np.all(np.abs(draws.var(axis=0) / mu - 1) < 5 * np.sqrt((2 + 1 / mu) / 400))


def test_fake_draws_the_counts_of_gammapy_for_a_seed():
    # numpy.random.RandomState(42).poisson, which Gammapy 2.1 uses as well.
    dataset = spectrum_dataset(background=as_map([461.7, 255.9, 133.1, 77.8]))
    dataset.fake(random_state=42)
    assert (
        dataset.counts.data.ravel().tolist()
        == np.random.RandomState(42).poisson([461.7, 255.9, 133.1, 77.8]).tolist()
    )
    with pytest.raises(DataError, match="random_state: expected a seed"):
        dataset.fake(random_state="seed")
    with pytest.raises(DataError, match="random_state: expected a seed from 0"):
        dataset.fake(random_state=-1)


def test_create_is_empty():
    dataset = SpectrumDataset.create(GEOM, energy_axis_true=AXIS_TRUE, name="new")
    assert dataset.counts.data.shape == dataset.data_shape == (4, 1, 1)
    assert dataset.exposure.data.sum() == 0
    assert not dataset.mask_safe.data.any()
    assert dataset.stat_sum() == 0
    assert np.isnan(dataset.energy_range[0].data)
    assert dataset.livetime == 0 * u.s


def test_energy_ranges():
    dataset = spectrum_dataset(
        mask_safe=as_map([False, True, True, True]), mask_fit=as_map([True, True, True, False])
    )
    edges = AXIS.edges.value
    for attribute, low, high in [
        ("energy_range", edges[1], edges[3]),
        ("energy_range_safe", edges[1], edges[4]),
        ("energy_range_fit", edges[0], edges[3]),
        ("energy_range_total", edges[0], edges[4]),
    ]:
        assert_allclose(
            [bound.quantity.to_value("TeV").item() for bound in getattr(dataset, attribute)], [low, high]
        )


def test_copy_shares_nothing_and_has_no_models():
    dataset = spectrum_dataset(models=power_law(), meta={"OBJECT": "Crab"})
    other = dataset.copy(name="copy")
    assert other.name == "copy"
    assert other.models is None
    assert other.meta == dataset.meta
    other.counts.data[:] = 0
    other.exposure.meta["livetime"] = 0 * u.s
    assert dataset.counts.data.sum() == 11
    assert dataset.livetime == 100 * u.s
    assert dataset.copy().name != dataset.copy().name


def test_info_dict():
    dataset = spectrum_dataset(models=power_law(), mask_safe=as_map([False, True, True, True]))
    info = dataset.info_dict()
    assert info["counts"] == 6
    assert_allclose([info["background"], info["excess"]], [0.8, 5.2])
    # Significance of a Poisson excess over a known background.
    assert_allclose(info["sqrt_ts"], np.sqrt(2 * (0.8 - 6 + 6 * np.log(6 / 0.8))))
    assert_allclose(info["npred"], info["npred_signal"] + 0.8)
    assert (info["n_bins"], info["n_fit_bins"], info["stat_type"]) == (4, 3, "cash")
    assert_allclose(info["stat_sum"], dataset.stat_sum())
    assert_allclose(info["counts_rate"].to_value("s-1"), 0.06)
    assert info["livetime"] == 100 * u.s
    assert np.isnan(info["ontime"])
    assert dataset.info_dict(in_safe_data_range=False)["counts"] == 11
    assert_allclose(info["exposure_max"].to_value("cm2 s"), exposure().data.max())


def test_text_names_what_there_is():
    text = str(spectrum_dataset(models=power_law(name="crab")))
    assert text.startswith("SpectrumDataset\n---------------\n")
    for line in (
        "Name                            : toy",
        "Total counts                    : 11",
        "Number of models",
    ):
        assert line in text
    assert "Component 0: SkyModel" in text
    assert "crab" in text
    assert "amplitude" in text
    assert repr(spectrum_dataset()) == "SpectrumDataset(name='toy')"
    # Nothing is needed but a geometry.
    assert "nan" in str(SpectrumDataset(mask_safe=as_map([True] * 4), name="bare"))


def test_measurement_is_in_engine_units():
    measurement = spectrum_dataset().measurement()
    assert_allclose(measurement.energy_min, AXIS_TRUE.edges_min.to_value("TeV"))
    assert_allclose(measurement.exposure, exposure().data.ravel())
    assert measurement.edisp.shape == (6, 4)
    assert measurement.mask.all()
    assert measurement.statistic == "cash"


# Cutting and rebinning


def test_slice_by_idx_and_energy():
    dataset = spectrum_dataset(models=power_law(), mask_safe=as_map([False, True, True, True]))
    part = dataset.slice_by_idx({"energy": slice(1, 3)}, name="part")
    part.models = dataset.models
    assert part.counts.data.ravel().tolist() == [3, 2]
    assert_allclose(part.npred().data, dataset.npred().data[1:3])
    same = dataset.slice_by_energy(1.9 * u.TeV, 5.4 * u.TeV)
    assert same.counts.geom.axes["energy"] == part.counts.geom.axes["energy"]
    assert same.mask_safe.data.ravel().tolist() == [True, True]
    assert dataset.slice_by_energy().counts.data.sum() == 11
    with pytest.raises(DataError, match="has no bin between"):
        dataset.slice_by_energy(20 * u.TeV, 30 * u.TeV)
    with pytest.raises(DataError, match="expected slices of energy"):
        dataset.slice_by_idx({"offset": slice(0, 1)})


def test_slice_of_true_energy_and_without_energy_dispersion():
    dataset = spectrum_dataset(models=power_law())
    part = dataset.slice_by_idx({"energy_true": slice(1, 5)})
    assert part.exposure.data.shape == (4, 1, 1)
    assert part.edisp.pdf_matrix.shape == (4, 4)
    axis_true = AXIS.copy(name="energy_true")
    diagonal = spectrum_dataset(edisp=None, exposure=exposure(axis=axis_true), models=power_law())
    part = diagonal.slice_by_idx({"energy": slice(1, 3)})
    part.models = power_law()
    assert_allclose(part.npred().data, diagonal.npred().data[1:3])


def test_resampling_keeps_what_is_safe():
    dataset = spectrum_dataset(models=power_law(), mask_safe=as_map([False, True, True, True]))
    joined = dataset.resample_energy_axis(AXIS.downsample(2), name="joined")
    joined.models = dataset.models
    assert joined.counts.data.ravel().tolist() == [3, 3]
    npred = dataset.npred().data.ravel()
    assert_allclose(joined.npred().data.ravel(), [npred[1], npred[2] + npred[3]], rtol=1e-12)
    assert joined.mask_safe.data.all()
    everything = dataset.resample_energy_axis(MapAxis.from_energy_edges([1, 10] * u.TeV))
    assert everything.counts.data.ravel().tolist() == [6]


# Bad input


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"counts": [1, 2, 3, 4]}, "counts: expected a RegionNDMap, found list"),
        ({"counts": as_map([1, -2, 3, 4])}, "counts: values can't be negative, found -2 in bin 1"),
        ({"counts": as_map([1.0] * 6, AXIS_TRUE)}, "counts: expected a map with the axis 'energy'"),
        (
            {"background": as_map([1.0, 2], MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2))},
            "background: expected the bins of",
        ),
        ({"counts": as_map([1.0] * 4, unit="cm2")}, "counts: expected numbers without unit, found cm2"),
        (
            {"exposure": as_map([1.0] * 6, AXIS_TRUE, unit="cm2")},
            "exposure: expected a unit of area times time, found cm2",
        ),
        (
            {"exposure": as_map([1.0] * 6, AXIS_TRUE)},
            "exposure: expected a unit of area times time, found none",
        ),
        (
            {"exposure": as_map([np.nan] * 6, AXIS_TRUE, unit="cm2 s")},
            "exposure: found 6 values that aren't finite",
        ),
        ({"exposure": as_map([-1.0] * 6, AXIS_TRUE, unit="cm2 s")}, "exposure: values can't be negative"),
        ({"mask_safe": as_map([1, 0, 1, 1])}, "mask_safe: expected a boolean map"),
        ({"edisp": np.eye(4)}, "edisp: expected an EDispKernel, found ndarray"),
        (
            {"edisp": EDispKernel.from_diagonal_response(AXIS.copy(name="energy_true"))},
            "edisp, axis energy_true: expected the bins",
        ),
        ({"stat_type": "wstat"}, "stat_type 'wstat'"),
    ],
)
def test_bad_parts_are_named(kwargs, message):
    with pytest.raises((DataError, UnitsError), match=f"Dataset 'toy': {message}"):
        spectrum_dataset(**kwargs)


def test_missing_parts_are_named():
    with pytest.raises(DataError, match="'toy': counts is needed here, but not set"):
        spectrum_dataset(counts=None).stat_sum()
    with pytest.raises(DataError, match="'toy': exposure is needed here, but not set"):
        spectrum_dataset(exposure=None, edisp=None, models=power_law()).npred()
    with pytest.raises(DataError, match="no map along the axis 'energy'"):
        SpectrumDataset(name="empty").npred()
    with pytest.raises(DataError, match="the 6 true energy bins must be the 4 measured ones"):
        spectrum_dataset(edisp=None).stat_sum()


def test_without_exposure_the_background_can_be_compared():
    dataset = spectrum_dataset(exposure=None, edisp=None)
    assert_allclose(dataset.npred().data.ravel(), [1, 0.5, 0.2, 0.1])
    assert np.isfinite(dataset.stat_sum())


def test_a_mistyped_attribute_is_an_error():
    dataset = spectrum_dataset()
    with pytest.raises(DataError, match=r"no attribute 'mask_fti'. Did you mean 'mask_fit'"):
        dataset.mask_fti = None
    with pytest.raises(DataError, match=r"no attribute 'model'. Did you mean 'models'"):
        dataset.model = power_law()


def test_counts_changed_in_place_are_checked_again():
    dataset = spectrum_dataset()
    dataset.counts.data[2] = -1
    with pytest.raises(DataError, match="counts: values can't be negative, found -1 in bin 2"):
        dataset.stat_sum()


def test_true_axis_needs_its_name():
    with pytest.raises(DataError, match="expected the name 'energy_true', found 'energy'"):
        SpectrumDataset.create(GEOM, energy_axis_true=AXIS)


def test_counts_with_the_unit_ct():
    assert spectrum_dataset(counts=as_map([1.0] * 4, unit="ct")).counts.unit == ""
    geom = RegionGeom(None, axes=[AXIS])
    assert spectrum_dataset(counts=RegionNDMap(geom, data=np.ones(4), unit="ct")).counts.data.sum() == 4
