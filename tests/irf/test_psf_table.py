"""Radial tables: integrals, containment, interpolation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from villard.exceptions import DataError
from villard.irf.psf_table import GaussShape, RadialTable

SIGMA = np.radians(0.1)
values_strategy = arrays(float, 20, elements=st.one_of(st.just(0.0), st.floats(1e-8, 1e8)))


def fine_sum(table: RadialTable, theta_max: float) -> float:
    """Integrate over rings, by brute force."""
    edges = np.linspace(0, theta_max, 200_001)
    theta = 0.5 * (edges[1:] + edges[:-1])
    return float(np.sum(table.evaluate(theta) * 2 * np.pi * -np.diff(np.cos(edges))))


def test_gaussian_table_is_the_gaussian():
    """Also between its points, and with steps as wide as half of sigma."""
    theta = (np.arange(14) + 0.5) * SIGMA / 2
    shape = GaussShape(SIGMA)
    table = RadialTable(theta, shape.evaluate(theta), theta_max=7 * SIGMA)
    assert table.integral == pytest.approx(1, rel=1e-9)
    at = np.linspace(0, 6.9 * SIGMA, 100)
    np.testing.assert_allclose(table.evaluate(at), shape.evaluate(at), rtol=1e-9)
    np.testing.assert_allclose(table.outside(at) + shape.outside(7 * SIGMA), shape.outside(at), rtol=1e-9)
    assert table.evaluate(7.1 * SIGMA) == 0


def test_wide_gaussian_is_normalised_on_the_sphere():
    theta = np.linspace(0, np.pi, 4001)
    assert RadialTable(theta, GaussShape(1.0).evaluate(theta)).integral == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(("n", "tolerance"), [(60, 1e-4), (120, 3e-5)])
def test_king_tail(n, tolerance):
    """A profile of the kind that instruments have, (1 + θ² / 2γσ²)^-γ, on a table like Fermi's."""
    gamma = 1.8
    theta = np.linspace(0, 1, n) ** 2 * 20 * SIGMA
    x2 = (theta / SIGMA) ** 2 / (2 * gamma)
    table = RadialTable(theta, (1 + x2) ** -gamma)
    # In the plane, where θ is small.
    expected = 2 * np.pi * SIGMA**2 * gamma / (gamma - 1) * (1 - (1 + x2[-1]) ** (1 - gamma))
    assert table.integral == pytest.approx(expected, rel=tolerance + theta[-1] ** 2 / 6)


@given(values_strategy)
def test_integral_is_that_of_the_interpolated_values(values):
    theta = np.linspace(0, 5 * SIGMA, 20)
    table = RadialTable(theta, values)
    brute = fine_sum(table, 5 * SIGMA)
    assert table.integral == pytest.approx(brute, rel=2e-3, abs=1e-300)


@given(values_strategy)
def test_normalisation_and_containment(values):
    theta = (np.arange(20) + 0.5) * SIGMA / 4
    table = RadialTable(theta, values, theta_max=5 * SIGMA)
    normed = table.normalized()
    if not np.any(values):
        assert normed.integral == 0
        assert np.isnan(normed.containment_radius(0.5))
        assert np.isnan(normed.containment(SIGMA))
        return
    assert normed.integral == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(normed.evaluate(theta), table.evaluate(theta) / table.integral)
    inside = normed.containment(np.linspace(0, 5 * SIGMA, 50))
    assert inside[0] == pytest.approx(0, abs=1e-12)
    assert inside[-1] == pytest.approx(1)
    assert np.all(np.diff(inside) >= -1e-12)
    radius = normed.containment_radius(np.array([0.3, 0.68, 0.95]))
    np.testing.assert_allclose(normed.containment(radius), [0.3, 0.68, 0.95], atol=1e-9)


def test_values_are_met_and_never_negative():
    values = np.array([5.0, 1e-3, 2.0, 0.0, 0.0, 4.0])
    theta = np.arange(6) * SIGMA
    table = RadialTable(theta, values)
    np.testing.assert_allclose(table.evaluate(theta), values, atol=1e-12)
    assert np.all(table.evaluate(np.linspace(0, 5 * SIGMA, 1000)) >= 0)
    # No interpolated value lies beyond its neighbours.
    assert table.evaluate(np.linspace(0, SIGMA, 100)).max() <= 5 * (1 + 1e-12)


@pytest.mark.parametrize(
    ("theta", "values", "theta_max", "message"),
    [
        ([0.0, 1.0], [1.0], None, "as many angles as values"),
        ([-0.1, 1.0], [1.0, 1.0], None, "increasing angles from 0"),
        ([0.0, 0.0], [1.0, 1.0], None, "increasing angles"),
        ([0.0, 1.0], [1.0, 1.0], 0.5, "beyond the last angle"),
        ([0.0], [1.0], None, "at least two angles"),
    ],
)
def test_bad_tables(theta, values, theta_max, message):
    with pytest.raises(DataError, match=message):
        RadialTable(theta, values, theta_max)
