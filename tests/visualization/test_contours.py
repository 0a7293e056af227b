"""Curves through the points of contours."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from villard.exceptions import DataError
from villard.visualization import plot_contour_line


def ellipse(n, a=3e-12, b=0.2):
    angle = 2 * np.pi * np.arange(n) / n
    return 4e-11 + a * np.cos(angle), 2.3 + b * np.sin(angle) + b * 0.5 * np.cos(angle)


@given(n=st.integers(8, 40), closed=st.booleans())
def test_ellipse(n, closed):
    """The curve stays on the ellipse that the points come from, however different the scales of the axes."""
    x, y = ellipse(n)
    if closed:
        x, y = np.append(x, x[0]), np.append(y, y[0])
    figure, ax = plt.subplots()
    plot_contour_line(ax, x, y, label="1 sigma")
    curve_x, curve_y = ax.lines[0].get_data()
    u = (curve_x - 4e-11) / 3e-12
    v = (curve_y - 2.3) / 0.2 - 0.5 * u
    np.testing.assert_allclose(np.hypot(u, v), 1, atol=0.03)
    assert (curve_x[0], curve_y[0]) == pytest.approx((curve_x[-1], curve_y[-1]))
    plt.close(figure)


def test_goes_through_the_points():
    x, y = ellipse(10)
    _, ax = plt.subplots()
    plot_contour_line(ax, x, y)
    curve = np.stack(ax.lines[0].get_data(), axis=1) / [3e-12, 0.2]
    for point in np.stack([x, y], axis=1) / [3e-12, 0.2]:
        assert np.min(np.linalg.norm(curve - point, axis=1)) < 0.05


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, np.nan], [1, 2, 3]), ([1, 2, 1], [1, 2, 1])]
)
def test_bad_points(x, y):
    with pytest.raises(DataError, match="Contour"):
        plot_contour_line(plt.gca(), x, y)
