"""Cubes with off counts: wstat, scaled background, stacks and simulated counts."""

import numpy as np
import pytest
from map_dataset_toys import (
    AXIS,
    GEOM,
    IMAGE,
    cube,
    dataset,
    exposure,
    gauss,
    onoff_dataset,
    point,
    psf,
)

from villard.datasets import MapDatasetOnOff
from villard.exceptions import DataError, ModelError
from villard.likelihood.statistics import wstat
from villard.maps import MapAxis
from villard.modeling import Fit
from villard.modeling.models import FoVBackgroundModel


def test_background_is_scaled_off_counts() -> None:
    toy = onoff_dataset()
    np.testing.assert_allclose(toy.alpha.data[:, 0, 0], [0.2, 0.25, 0.25])
    np.testing.assert_allclose(toy.background.data[:, 0, 0], [0.8, 0.5, 0])
    np.testing.assert_allclose(toy.excess.data[:, 0, 0], [0.2, 0.5, 1])
    assert toy.stat_type == "wstat"
    with pytest.raises(DataError, match="follows from counts_off"):
        toy.background = cube(1.0)


def test_statistic_is_wstat() -> None:
    toy = onoff_dataset(models=[gauss()])
    signal = toy.npred_signal().data
    off, alpha = toy.counts_off.data, toy.alpha.data
    expected = wstat(1.0, off, alpha, signal)
    np.testing.assert_allclose(toy.stat_array(), expected, rtol=1e-9)
    assert toy.stat_sum() == pytest.approx(toy.stat_array().sum())


def test_without_signal_it_is_that_of_li_and_ma() -> None:
    rng = np.random.default_rng(1)
    n, off = rng.poisson(3, GEOM.data_shape), rng.poisson(10, GEOM.data_shape)
    toy = onoff_dataset(counts=cube(n), counts_off=cube(off), acceptance_off=4)
    total, alpha = n + off, 0.25
    with np.errstate(divide="ignore", invalid="ignore"):
        on_term = np.where(n > 0, n * np.log((1 + alpha) / alpha * n / total), 0)
        off_term = np.where(off > 0, off * np.log((1 + alpha) * off / total), 0)
    np.testing.assert_allclose(toy.stat_array(), 2 * (on_term + off_term), atol=1e-9)


def test_fit() -> None:
    toy = onoff_dataset(models=[gauss()], psf=psf())
    toy.acceptance_off = cube(5.0)
    toy.fake(npred_background=cube(2.0), random_state=3)
    truth = [p.value for p in toy.models.parameters.free_parameters]
    result = Fit().run([toy])
    assert result.success
    assert result.total_stat == pytest.approx(toy.stat_sum(), abs=0.02)
    for parameter, value in zip(toy.models.parameters.free_parameters, truth, strict=True):
        assert abs(parameter.value - value) < 4 * parameter.error, parameter.name


def test_fake_counts_are_poisson() -> None:
    toy = onoff_dataset(models=[gauss()], acceptance_off=4)
    toy.fake(npred_background=cube(2.0), random_state=5)
    first = toy.counts.data.copy()
    for counts, mean in ((toy.counts, 2 + toy.npred_signal().data), (toy.counts_off, 8.0)):
        pull = np.sum(counts.data - mean) / np.sqrt(np.sum(np.broadcast_to(mean, GEOM.data_shape)))
        assert abs(pull) < 4
    toy.fake(npred_background=cube(2.0), random_state=5)
    assert np.array_equal(toy.counts.data, first)
    toy.acceptance_off = cube(0.0)
    with pytest.raises(DataError, match="background in bins without on or off acceptance"):
        toy.fake(npred_background=cube(2.0))


def test_from_and_to_a_dataset_with_a_background() -> None:
    plain = dataset(models=[point()])
    toy = MapDatasetOnOff.from_map_dataset(plain, acceptance=1, acceptance_off=4)
    assert toy.name == "toy"
    assert toy.models.names == ["point"]
    np.testing.assert_allclose(toy.background.data, plain.background.data)
    np.testing.assert_allclose(toy.counts_off.data, 4 * plain.background.data)
    back = toy.to_map_dataset(name="back")
    np.testing.assert_allclose(back.background.data, plain.background.data)
    assert back.stat_type == "cash"
    assert back.name == "back"


def test_stack_adds_the_background() -> None:
    rng = np.random.default_rng(0)
    toys = [
        onoff_dataset(
            counts_off=cube(rng.poisson(1.0, GEOM.data_shape).astype(float)),
            acceptance_off=cube(rng.uniform(2, 9, GEOM.data_shape)),
            name=f"run-{i}",
        )
        for i in range(2)
    ]
    expected = toys[0].background.data + toys[1].background.data
    counts_off = toys[0].counts_off.data + toys[1].counts_off.data
    toys[0].stack(toys[1])
    np.testing.assert_allclose(toys[0].background.data, expected)
    np.testing.assert_allclose(toys[0].counts_off.data, counts_off)
    np.testing.assert_allclose(toys[0].acceptance.data, 2)
    assert np.all(np.isfinite(toys[0].alpha.data))


def test_joined_bins_keep_the_background() -> None:
    toy = onoff_dataset()
    for joined in (toy.downsample(2), toy.to_image(), toy.downsample(3, axis_name="energy")):
        assert joined.counts_off.data.sum() == toy.counts_off.data.sum()
        assert joined.background.data.sum() == pytest.approx(toy.background.data.sum())
        assert joined.acceptance.data.sum() == toy.acceptance.data.sum()
    padded = toy.pad(2)
    assert padded.counts_off.data.sum() == toy.counts_off.data.sum()
    assert padded.stat_sum() == pytest.approx(toy.stat_sum())


def test_summary() -> None:
    toy = onoff_dataset()
    pixels = IMAGE.data_shape[0] * IMAGE.data_shape[1]
    info = toy.info_dict()
    assert info["counts_off"] == 6 * pixels
    assert info["acceptance"] == 3 * pixels
    assert info["alpha"] == pytest.approx(1.3 / 6)
    assert "Total counts_off" in str(toy)
    assert str(toy).startswith("MapDatasetOnOff\n")


def test_create() -> None:
    empty = MapDatasetOnOff.create(GEOM, name="empty")
    assert empty.counts_off.data.sum() == empty.acceptance.data.sum() == 0
    assert empty.background.data.sum() == 0
    toy = onoff_dataset(psf=None, exposure=exposure(AXIS.copy(name="energy_true")))
    assert toy.geoms["geom"] == empty.geoms["geom"]


def test_what_it_needs() -> None:
    with pytest.raises(DataError, match="'toy': counts_off is needed here, but not set"):
        onoff_dataset(counts_off=None).stat_sum()
    with pytest.raises(DataError, match="'toy': acceptance_off: values can't be negative"):
        onoff_dataset(acceptance_off=-1)
    axis = MapAxis.from_energy_bounds("1 TeV", "20 TeV", nbin=3)
    with pytest.raises(DataError, match="'toy': counts_off: expected the bins of"):
        onoff_dataset(counts_off=cube(1.0, IMAGE.to_cube([axis])))
    toy = onoff_dataset(models=[FoVBackgroundModel(dataset_name="toy")])
    with pytest.raises(ModelError, match="measures its background"):
        toy.stat_sum()
