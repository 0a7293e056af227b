"""Plots of models: what they show, in which units, with which options."""

from typing import Any

import astropy.units as u
import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from villard.exceptions import ModelError
from villard.maps import MapAxis
from villard.modeling.models import (
    Models,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)

RANGE = [0.1, 100] * u.TeV
UNITS = {"dnde": "TeV-1 cm-2 s-1", "e2dnde": "erg cm-2 s-1", "flux": "cm-2 s-1", "eflux": "erg cm-2 s-1"}


@pytest.fixture(autouse=True)
def _close_figures() -> Any:
    yield
    plt.close("all")


def model() -> PowerLawSpectralModel:
    spectrum = PowerLawSpectralModel(index=2.5, amplitude="2e-12 cm-2 s-1 TeV-1", reference="1 TeV")
    spectrum.covariance = np.diag([0.1, 2e-13, 0]) ** 2
    return spectrum


def expected(sed_type: str, energy: Any, edges: Any) -> Any:
    spectrum = model()
    values = {
        "dnde": lambda: spectrum(energy),
        "e2dnde": lambda: energy**2 * spectrum(energy),
        "flux": lambda: spectrum.integral(edges[:-1], edges[1:]),
        "eflux": lambda: spectrum.energy_flux(edges[:-1], edges[1:]),
    }[sed_type]()
    return values.to_value(UNITS[sed_type])


@pytest.mark.parametrize("sed_type", sorted(UNITS))
@pytest.mark.parametrize("energy_power", [0, 2])
def test_curves(sed_type: str, energy_power: float) -> None:
    ax = model().plot(RANGE, sed_type=sed_type, energy_power=energy_power, n_points=30, color="C3", label="x")
    (line,) = ax.lines
    x, y = line.get_data()
    edges = np.geomspace(0.1, 100, 31) * u.TeV
    energy = edges if "dnde" in sed_type else np.sqrt(edges[:-1] * edges[1:])
    assert_allclose(x, energy.to_value("TeV"))
    assert_allclose(y, expected(sed_type, energy, edges) * x**energy_power, rtol=1e-9)
    assert line.get_color() == "C3"
    assert line.get_label() == "x"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "TeV" in ax.get_xlabel()
    assert ("E^{2}" in ax.get_ylabel()) == (energy_power == 2)


@pytest.mark.parametrize("sed_type", sorted(UNITS))
def test_error_bands(sed_type: str) -> None:
    """The band is value ± error; its lower edge never reaches zero, which has no place on the axis."""
    ax = model().plot_error(RANGE, sed_type=sed_type, n_points=20, color="C1", alpha=0.5)
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    edges = np.geomspace(0.1, 100, 21) * u.TeV
    energy = edges if "dnde" in sed_type else np.sqrt(edges[:-1] * edges[1:])
    value = expected(sed_type, energy, edges)
    assert vertices[:, 1].min() > 0
    for x, y in zip(energy.to_value("TeV"), value, strict=True):
        column = vertices[np.isclose(vertices[:, 0], x), 1]
        assert column.min() < y < column.max()
    assert band.get_alpha() == 0.5


def test_band_by_sampling_agrees() -> None:
    exact = model().plot_error(RANGE, n_points=10).collections[0].get_paths()[0].vertices
    plt.figure()
    options = {"method": "sampling", "n_samples": 4000, "random_state": 0}
    drawn = model().plot_error(RANGE, n_points=10, **options).collections[0].get_paths()[0].vertices
    # In the middle, where the error is small, both are the same; far away it is skew.
    middle = np.abs(np.log(exact[:, 0])) < 1
    assert_allclose(drawn[middle, 1], exact[middle, 1], rtol=0.03)


def test_axes_in_other_units_are_respected() -> None:
    ax = model().plot(RANGE)
    other = model().plot([1e8, 1e11] * u.keV, ax=ax)
    assert other is ax
    first, second = (line.get_xdata() for line in ax.lines)
    assert_allclose([second.min(), second.max()], [first.min(), first.max()])


def test_energies_of_an_axis() -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
    ax = model().plot(axis, sed_type="flux")
    assert_allclose(ax.lines[0].get_xdata(), axis.center.value)


def test_a_norm_has_no_unit() -> None:
    ax = PowerLawNormSpectralModel(tilt=0.3).plot(RANGE, sed_type="norm")
    assert ax.get_ylabel() == "Norm"
    assert_allclose(ax.lines[0].get_ydata()[0], 0.1**-0.3, rtol=1e-9)


def test_unknown_quantity() -> None:
    with pytest.raises(ModelError, match="sed_type must be one of"):
        model().plot(RANGE, sed_type="dNdE")


def test_correlations() -> None:
    spectrum = model()
    spectrum.covariance = [[0.01, 1e-14, 0], [1e-14, 4e-26, 0], [0, 0, 0]]
    ax = Models([SkyModel(spectrum, name="crab")]).covariance.plot_correlation()
    shown = np.asarray(ax.images[0].get_array())
    assert_allclose(shown[0, 1], 0.5, rtol=1e-9)
    assert_allclose(np.diag(shown)[:2], 1)
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert any("index" in name for name in names)
