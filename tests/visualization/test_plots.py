"""What the plots show, not how they look."""

import astropy.units as u
import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table

from villard.exceptions import DataError
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling import Parameter
from villard.simulate.goodness import GoodnessOfFit
from villard.visualization import (
    add_colorbar,
    plot_contour_line,
    plot_coverage,
    plot_distribution,
    plot_goodness_of_fit,
    plot_pulls,
    plot_stat_profile,
    plot_stat_surface,
    plot_trace,
    plot_ts,
)
from villard.visualization.helpers import make_axes


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.figure().add_subplot()


def texts(ax):
    legend = ax.get_legend()
    found = [t.get_text() for t in ax.texts]
    return " ".join(found + ([t.get_text() for t in legend.get_texts()] if legend else []))


def test_contour_in_the_units_of_the_figure(ax):
    angle = np.linspace(0, 2 * np.pi, 11)
    plot_contour_line(ax, 1e-11 * np.cos(angle), 3 + 0.1 * np.sin(angle), color="C3")
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose((x / 1e-11) ** 2 + ((y - 3) / 0.1) ** 2, 1, atol=0.01)
    assert (x[0], y[0]) == pytest.approx((x[-1], y[-1]))


def profile(scale=1.0):
    values = np.linspace(-3, 3, 13)
    return {"crab.spectral.index_scan": values, "stat_scan": 30 + scale * values**2, "fit_results": []}


def test_profile_shows_the_rise_and_its_levels(ax):
    parameter = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1")
    assert plot_stat_profile(profile(), ax=ax, parameter=parameter) is ax
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.linspace(-3, 3, 13) ** 2)
    assert [line.get_ydata()[0] for line in ax.lines[1:]] == [1, 4]
    assert "TeV" in ax.get_xlabel()
    assert r"2$\,\sigma$" in texts(ax)


def test_levels_above_the_profile_are_left_out(ax):
    plot_stat_profile(profile(scale=0.2), ax=ax)
    assert len(ax.lines) == 2
    assert ax.get_xlabel() == "crab.spectral.index"


def test_profile_relative_to_a_given_minimum(ax):
    plot_stat_profile(profile(), ax=ax, stat_min=28)
    assert ax.lines[0].get_ydata().min() == pytest.approx(2)


def surface():
    x, y = np.linspace(-3, 3, 15), np.linspace(-4, 4, 11)
    stat = 5 + x[:, None] ** 2 + (y / 2) ** 2
    return {"m.x_scan": x, "m.y_scan": y, "stat_scan": stat, "fit_results": []}


def test_surface_has_x_along_x(ax):
    plot_stat_surface(surface(), ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("m.x", "m.y")
    mesh = ax.collections[0]
    assert mesh.get_array().shape == (11, 15)
    assert float(mesh.get_array().min()) == 0
    contours = ax.collections[1]
    assert list(contours.levels) == [1, 4, 9]
    one_sigma = np.concatenate(contours.get_paths()[0].vertices[None])
    assert np.max(np.abs(one_sigma[:, 0])) == pytest.approx(1, abs=0.05)
    assert np.max(np.abs(one_sigma[:, 1])) == pytest.approx(2, abs=0.1)


def test_scans_of_another_dimension_are_refused(ax):
    with pytest.raises(DataError, match="scan of 2 parameters, found the keys crab"):
        plot_stat_surface(profile(), ax=ax)
    with pytest.raises(DataError, match="scan of 1 parameter, found"):
        plot_stat_profile({"stat_scan": [1, 2]}, ax=ax)


def test_trace_has_a_panel_per_parameter():
    table = Table({"total_stat": [40.0, 31.0, 30.0], "crab.spectral.index": [1.0, 2.0, 2.2]})
    panels = plot_trace(table)
    assert len(panels) == 2
    np.testing.assert_allclose(panels[0].lines[0].get_ydata(), [10, 1, np.nan])
    np.testing.assert_allclose(panels[1].lines[0].get_ydata(), [1, 2, 2.2])
    assert panels[1].get_ylabel() == "index"
    with pytest.raises(DataError, match="store_trace=True"):
        plot_trace(None)


def test_pulls_tell_mean_width_and_what_is_outside():
    pulls = np.random.default_rng(1).normal(size=(1000, 2))
    pulls[0, 0], pulls[1, 1] = 12, np.nan
    first, second = plot_pulls(pulls, ["alpha", "beta"])
    assert "1 outside" in texts(first)
    assert "outside" not in texts(second)
    assert "999 toys" in texts(second)
    assert sum(p.get_height() for p in second.patches) == 999
    assert first.get_xlabel().endswith("alpha")


def test_coverage_shows_the_difference(ax):
    table = Table(
        {"parameter": ["a", "a"], "level": [0.5, 0.9], "coverage": [0.48, 0.9], "error": [0.1, 0.1]}
    )
    plot_coverage(table, ax=ax)
    np.testing.assert_allclose(ax.lines[-1].get_data(), [[50, 90], [-2, 0]], atol=1e-12)


def test_goodness_of_fit_shows_data_and_p_value(ax):
    stats = np.random.default_rng(1).chisquare(5, 999)
    result = GoodnessOfFit(11.07, stats, 5)
    plot_goodness_of_fit(result, ax=ax)
    assert f"{result.p_value:.3g}" in texts(ax)
    assert result.p_value == pytest.approx(result.p_value_chi2, abs=0.03)
    assert ax.lines[-1].get_xdata()[0] == 11.07


def test_ts_exceeds_as_often_as_the_line_says(ax):
    ts = np.random.default_rng(1).chisquare(1, 1000)
    plot_ts(ts, 1, ax=ax, observed=4.0)
    expected, steps = ax.lines[0], ax.lines[1]
    share = np.interp(1.0, *steps.get_data())
    assert share == pytest.approx(np.mean(ts > 1.0), abs=2e-3)
    assert np.interp(1.0, *expected.get_data()) == pytest.approx(0.3173, abs=1e-3)


def test_distribution_of_a_map_and_its_gaussian():
    geom = RegionGeom(None, axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)])
    many = type("Images", (), {})()
    many.data = np.random.default_rng(1).normal(0.5, 2.0, size=(2, 60, 60))
    many.data[0, 0, 0] = np.nan
    many.geom, many.unit = geom, u.Unit("")
    axes, result = plot_distribution(many, func="norm", kwargs_axes={"xlabel": "Significance"})
    assert len(axes) == 2
    assert axes[0].get_xlabel() == "Significance"
    for entry in result:
        np.testing.assert_allclose(entry["param"], [0.5, 2.0], atol=0.15)
    np.testing.assert_allclose(result[1]["axis_edges"][0].to_value("TeV"), [10**0.5, 10])


def test_distribution_without_values():
    geom = RegionGeom(None, axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)])
    with pytest.raises(DataError, match="no values"):
        plot_distribution(RegionNDMap(geom, data=np.full(1, np.nan)))
    with pytest.raises(DataError, match="expected 'norm' or a function, found 'lognorm'"):
        plot_distribution(RegionNDMap(geom), func="lognorm")


def test_own_function_and_mask():
    geom = RegionGeom(None, axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)])
    images = type("Images", (), {})()
    images.data = np.random.default_rng(1).exponential(2.0, size=(1, 100, 100))
    images.geom, images.unit = geom, u.Unit("cm-2 s-1")
    mask = type("Mask", (), {"data": images.data < 15})()
    axes, result = plot_distribution(
        images, mask=mask, func=lambda x, tau: np.exp(-x / tau) / tau, kwargs_fit={"p0": (1.0,)}
    )
    assert result[0]["param"][0] == pytest.approx(2, abs=0.1)
    assert "cm^{-2}" in axes[0].get_xlabel()


def test_panels_given_or_made():
    assert len(make_axes(None, 4, 3, (2, 2))) == 4
    assert len(plt.gcf().axes) == 4
    with pytest.raises(DataError, match="Expected 2 axes to draw on, found 1"):
        make_axes(plt.gca(), 2, 3, (2, 2))


def test_colour_bar_beside_the_axes(ax):
    bar = add_colorbar(ax.imshow([[0, 1]]), ax, label="Counts")
    assert bar.ax.get_ylabel() == "Counts"
    assert len(plt.gcf().axes) == 2
