"""Fits with the exact Hessian: norms where the data see them, and shapes without flux tried anew."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.newton import ExactSteps, minimize_exactly
from villard.likelihood.norm_coordinates import NormCoordinates

if TYPE_CHECKING:
    from villard.likelihood.likelihood import Likelihood

__all__ = ["fit_exactly"]

Array = NDArray[np.float64]

#: Times that sources without flux are given other shapes, and distance to the minimum before that.
_NEW_SHAPES, _LOOSE_TOL = 2, 1e-2


def fit_exactly(
    likelihood: Likelihood,
    theta: Array,
    bounds: tuple[Array, Array],
    active: NDArray[np.bool_],
    tol: float,
    max_evaluations: int,
) -> ExactSteps:
    """Minimise a likelihood by Newton's method; see `villard.likelihood.newton`.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Likelihood.
    theta : array
        Start, shape (n_free,).
    bounds : tuple of array
        Limits of θ.
    active : array of bool
        Parameters that may move.
    tol : float
        Largest estimated distance to the minimum.
    max_evaluations : int
        Most evaluations.

    Returns
    -------
    `ExactSteps`
        The end, with the rows of all evaluations.
    """
    steady = np.array([bool(p.is_norm) for p in likelihood.parameters])
    coordinates = NormCoordinates(likelihood)
    rows: list[Array] = []

    def run(theta: Array, goal: float) -> ExactSteps:
        coordinates.start_at(theta)
        end = minimize_exactly(
            likelihood.derivatives,
            theta,
            bounds,
            active,
            goal,
            max_evaluations - len(rows),
            steady,
            likelihood.data["longest"],
            coordinates if coordinates else None,
        )
        rows.extend(end.rows)
        return end

    best: ExactSteps | None = None
    for _ in range(_NEW_SHAPES if coordinates else 0):
        end = run(theta, max(tol, _LOOSE_TOL))
        if best is not None and not end.value < best.value:
            break
        best = end
        if not end.converged or len(rows) >= max_evaluations:
            return replace(end, rows=rows, converged=end.converged and end.edm < tol)
        slopes = lambda theta: likelihood.value_and_gradient(theta)[1]  # noqa: E731
        other = coordinates.other_shapes(end.theta, bounds, active, slopes)
        if other is None:
            break
        theta = other
    if best is not None:
        theta = best.theta
    return replace(run(theta, tol), rows=rows)
