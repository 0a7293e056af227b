"""Plots of cubes show what they should."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from map_dataset_toys import AXIS_TRUE, GEOM, IMAGE, cube, dataset, edisp, exposure, gauss, onoff_dataset, psf

from villard.exceptions import DataError

COARSE = IMAGE.to_binsz(0.5)


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def toy(**kwargs):
    parts = {
        "exposure": exposure(AXIS_TRUE),
        "psf": psf(AXIS_TRUE, geom=COARSE),
        "edisp": edisp(geom=COARSE),
        "mask_fit": GEOM.region_mask("galactic;circle(0, 0, 0.9)"),
    }
    return dataset(**(parts | kwargs))


def test_peek_shows_every_part() -> None:
    figure = toy().peek()
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[:3] == ["Counts", "Background", "Excess (smoothed)"]
    assert titles[3].startswith("Exposure at ")
    assert titles[4:] == ["Point spread function", "Energy dispersion"]
    counts = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(counts, 3.0)
    figure.canvas.draw()


def test_peek_of_little() -> None:
    figure = dataset(exposure=None, background=None).peek()
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == ["Counts", "Excess (smoothed)"]
    onoff_dataset().peek().canvas.draw()


def test_image_of_residuals() -> None:
    data = toy(models=gauss())
    ax = data.plot_residuals_spatial(smooth_radius=0)
    shown = ax.images[0].get_array()
    expected = np.where(data.mask.data, data.residuals().data, 0).sum(axis=0)
    inside = data.mask_image.data
    np.testing.assert_allclose(np.asarray(shown)[inside], expected[inside], rtol=1e-9, atol=1e-12)
    assert np.all(np.isnan(np.ma.filled(shown, np.nan)[~inside]))
    low, high = ax.images[0].get_clim()
    assert low == -high
    ax.figure.canvas.draw()
    with pytest.raises(DataError, match="Unknown method of residuals 'chi'"):
        data.plot_residuals_spatial(method="chi")


def test_spectrum_of_residuals() -> None:
    data = toy(models=gauss())
    region = "galactic;circle(0, 0, 0.4)"
    plt.figure()
    ax = data.plot_residuals_spectral(method="diff/sqrt(model)", region=region)
    inside = IMAGE.region_mask(region).data & data.mask.data
    counts = np.where(inside, data.counts.data, 0).sum(axis=(1, 2))
    model = np.where(inside, data.npred().data, 0).sum(axis=(1, 2))
    line = ax.lines[0].get_ydata()
    np.testing.assert_allclose(line, (counts - model) / np.sqrt(model), rtol=1e-9)
    assert ax.get_ylabel().startswith("(data - model)")


def test_both() -> None:
    data = toy(models=gauss())
    figure = plt.figure(figsize=(10, 4))
    spatial, spectral = data.plot_residuals(kwargs_spectral={"region": "galactic;circle(0, 0, 0.4)"})
    assert spatial.figure is spectral.figure is figure
    assert spatial.collections, "the region is outlined"
    figure.canvas.draw()


def test_masked_cubes_can_be_plotted() -> None:
    data = toy(mask_safe=cube(False))
    data.plot_residuals_spatial().figure.canvas.draw()
