import matplotlib.pyplot as plt
import numpy as np
import pytest
from dataset_toys import as_map, onoff_dataset, power_law, spectrum_dataset
from numpy.testing import assert_allclose
from scipy.stats import poisson

from villard.datasets.plot import poisson_interval

DATASETS = {
    "spectrum": lambda **kwargs: spectrum_dataset(**kwargs),
    "onoff": lambda **kwargs: onoff_dataset(**kwargs),
    "masked": lambda **kwargs: onoff_dataset(
        mask_safe=[False, True, True, True], mask_fit=as_map([True, True, True, False]), **kwargs
    ),
    "empty": lambda **kwargs: onoff_dataset(counts=[0] * 4, counts_off=[0] * 4, **kwargs),
    "nothing safe": lambda **kwargs: onoff_dataset(mask_safe=[False] * 4, **kwargs),
}


@pytest.mark.parametrize("n", [0, 1, 3, 50])
def test_intervals_of_counts_have_their_coverage_at_the_bounds(n):
    low, high = poisson_interval(n)
    if n:
        assert_allclose(poisson.sf(n - 1, low), 0.158655, rtol=1e-5)
    else:
        assert low == 0
    assert_allclose(poisson.cdf(n, high), 0.158655, rtol=1e-5)


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("models", [None, power_law()])
def test_every_plot_draws(kind, models):
    dataset = DATASETS[kind](models=models)
    ax, residuals = dataset.plot_fit()
    assert ax is not residuals
    for name in ("plot_counts", "plot_excess", "plot_residuals", "plot_residuals_spectral", "plot_masks"):
        plt.figure()
        ax = getattr(dataset, name)()
        assert ax is plt.gca()
        ax.figure.canvas.draw()
    figure = dataset.peek()
    figure.canvas.draw()
    assert len(figure.axes) >= 3


def test_plot_fit_shows_the_data_and_the_model():
    dataset = onoff_dataset(models=power_law())
    figure, (top, bottom) = plt.subplots(2, 1)
    assert dataset.plot_fit(top, bottom, kwargs_residuals={"method": "diff/model"}) == (top, bottom)
    assert figure.axes == [top, bottom]
    excess = top.containers[0].lines[0].get_ydata()
    assert_allclose(excess, dataset.excess.data.ravel())
    steps = top.patches[0].get_data().values
    assert_allclose(steps, dataset.npred_signal().data.ravel())
    assert_allclose(bottom.containers[0].lines[0].get_ydata(), dataset.residuals("diff/model").data.ravel())
    labels = top.get_legend_handles_labels()[1]
    assert {"Excess", "Predicted signal", "Safe range"} <= set(labels)


def test_residuals_are_shown_in_the_fit_range_only():
    dataset = onoff_dataset(mask_fit=as_map([False, True, True, True]), models=power_law())
    shown = dataset.plot_residuals(method="diff/sqrt(model)", color="red").containers[0].lines[0].get_ydata()
    assert np.isnan(shown[0])
    assert np.isfinite(shown[1:]).all()


def test_options_reach_matplotlib():
    dataset = onoff_dataset(models=power_law())
    ax = dataset.plot_counts(kwargs_counts={"label": "on"}, kwargs_background={"label": "off"}, color="k")
    assert ax.get_legend_handles_labels()[1] == ["on", "off"]
    plt.figure()
    ax = dataset.plot_excess(kwargs_npred_signal={"label": "model"})
    assert "model" in ax.get_legend_handles_labels()[1]
    ax = dataset.plot_masks(plt.figure().gca(), kwargs_safe={"color": "red"})
    assert len(ax.patches) == 1
