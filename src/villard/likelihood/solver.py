"""Damped Fisher scoring with bounds, alone and in batches.

Levenberg-Marquardt on the statistic's own curvature: each step solves (F + λ diag F) δ = -g on the
parameters that aren't held. Far from the minimum F is the expected curvature. There the curvature
of the data is misleading: a fit that starts from μ predicted counts, many more than the n observed
ones, is sent to -μ²/n, beyond zero, while the expected one leads to n in one step. Near the minimum
the data's own curvature converges faster.

It stops on the estimated distance to the minimum, ½ gᵀF⁻¹g. Steps go at most 90 % of the way to a
bound; clipping a step onto it can end in a false corner, where other parameters never recover. Only
where the remaining way makes no difference is the bound reached.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any

from villard._jax import jax, jnp

__all__ = ["SolverStatus", "minimize"]

_TOWARDS_BOUND = 0.9
#: Estimated distance to the minimum from which on the expected curvature is taken.
_FAR = 0.1
#: Squared gradient over curvature (twice a distance to the minimum) beyond which it is no slope but a cliff.
_CLIFF = 1e18
#: Number of parameters up to which systems are solved without LAPACK.
_FEW = 12


class SolverStatus(IntEnum):
    """How a minimisation ended."""

    RUNNING = 0
    CONVERGED = 1
    STALLED = 2
    NOT_FINITE = 3
    CONVERGED_EXACTLY = 4

    @property
    def message(self) -> str:
        """A sentence for the user."""
        return {
            SolverStatus.RUNNING: "The limit of iterations was reached before convergence.",
            SolverStatus.CONVERGED: "Converged: estimated distance to minimum below tolerance.",
            SolverStatus.STALLED: "No step lowers the statistic, though its gradient isn't zero.",
            SolverStatus.NOT_FINITE: "The statistic is not finite at the start values.",
            SolverStatus.CONVERGED_EXACTLY: "Converged with the exact Hessian: estimated distance to "
            "minimum below tolerance.",
        }[self]


def _held(theta: Any, gradient: Any, lower: Any, upper: Any, active: Any) -> Any:
    """Which parameters may move: active, and not pressed against a bound."""
    at_lower = (theta <= lower) & (gradient > 0)
    at_upper = (theta >= upper) & (gradient < 0)
    return active & ~at_lower & ~at_upper


def _step(fisher: Any, gradient: Any, moving: Any, damping: Any) -> tuple[Any, Any]:
    """Damped step, and the estimated distance to the minimum (undamped) in units of the statistic."""
    gradient = jnp.where(moving, gradient, 0.0)
    diagonal = jnp.diag(fisher)
    scale = jnp.sqrt(jnp.where(moving & (diagonal > 0), diagonal, 1.0))
    both = moving[:, None] & moving[None, :]
    matrix = jnp.where(both, fisher / scale[:, None] / scale[None, :], 0.0)
    # The last term keeps a parameter without any curvature from making the system singular.
    on_diagonal = jnp.where(moving, jnp.stack([damping, jnp.zeros_like(damping)])[:, None] + 1e-12, 1.0)
    matrices = matrix + jnp.eye(matrix.shape[0]) * on_diagonal[:, None, :]
    solve = _eliminate if matrix.shape[0] <= _FEW else _cholesky_solve
    scaled, squares = solve(matrices, gradient / scale)
    # With the damping in it the distance would be underestimated where parameters are degenerate.
    return -scaled[0] / scale, 0.5 * squares[1]


def _eliminate(matrices: Any, right: Any) -> tuple[Any, Any]:
    """Solve positive definite systems, shape (m, n, n); give solutions x and xᵀAx, NaN if they aren't.

    Gauss-Jordan elimination, which is stable for such matrices, as one short loop: LAPACK would have to be
    loaded from scipy first, which takes longer than many a fit.
    """
    take = partial(jax.lax.dynamic_index_in_dim, axis=1)
    own = jnp.arange(right.shape[0])

    def clear_column(k: Any, state: Any) -> Any:
        matrices, sides, squares = state
        row, side = take(matrices, k), take(sides, k)
        pivot = jnp.squeeze(jax.lax.dynamic_index_in_dim(row, k, axis=2), 2)
        pivot = jnp.where(pivot > 0, pivot, jnp.nan)
        column = jnp.squeeze(jax.lax.dynamic_index_in_dim(matrices, k, axis=2), 2)
        # The row itself is divided by its pivot.
        factor = jnp.where(own == k, pivot - 1.0, column) / pivot
        matrices = matrices - factor[:, :, None] * row
        return matrices, sides - factor * side, squares + side[:, 0] ** 2 / pivot[:, 0]

    m, n = matrices.shape[:2]
    start = (matrices, jnp.broadcast_to(right, (m, n)), jnp.zeros(m))
    _, solutions, squares = jax.lax.fori_loop(0, n, clear_column, start)
    return solutions, squares


def _cholesky_solve(matrices: Any, right: Any) -> tuple[Any, Any]:
    """As `_eliminate`, for many parameters."""
    roots = jnp.linalg.cholesky(matrices)
    right = jnp.broadcast_to(right, (matrices.shape[0], *right.shape))[..., None]
    half = jax.scipy.linalg.solve_triangular(roots, right, lower=True)
    solutions = jax.scipy.linalg.solve_triangular(roots, half, lower=True, trans=1)
    return solutions[..., 0], jnp.sum(half[..., 0] ** 2, axis=-1)


def _on_cliff(gradient: Any, fisher: Any) -> Any:
    return jnp.any(gradient**2 > _CLIFF * jnp.diag(fisher))


def _within_bounds(theta: Any, delta: Any, gradient: Any, lower: Any, upper: Any, tol: Any) -> Any:
    """Shorten a step before bounds; land on a bound where the rest of the way changes nothing."""
    room_down, room_up = theta - lower, upper - theta
    # A parameter that is held stays, though it be out of bounds, as scans may ask for.
    beyond_down, beyond_up = (delta < 0) & (-delta >= room_down), (delta > 0) & (delta >= room_up)
    negligible_down = jnp.abs(gradient) * room_down < 1e-3 * tol
    negligible_up = jnp.abs(gradient) * room_up < 1e-3 * tol
    room_down = jnp.where(jnp.isfinite(room_down), room_down, 0.0)
    room_up = jnp.where(jnp.isfinite(room_up), room_up, 0.0)
    new = theta + delta
    new = jnp.where(beyond_down, theta - _TOWARDS_BOUND * room_down, new)
    new = jnp.where(beyond_up, theta + _TOWARDS_BOUND * room_up, new)
    new = jnp.where(beyond_down & negligible_down, lower, new)
    return jnp.where(beyond_up & negligible_up, upper, new)


def minimize(
    terms: Callable[[Any, Any], tuple[Any, Any, Any]],
    theta: Any,
    lower: Any,
    upper: Any,
    active: Any,
    tol: Any,
    max_iter: Any,
    trace_length: int = 0,
    longest: Any = None,
) -> dict[str, Any]:
    """Minimise a statistic; traceable, so it can be jitted and mapped.

    Parameters
    ----------
    terms : callable
        (θ, far) ↦ value, gradient, positive semi-definite curvature; the expected one where ``far``.
    theta : array
        Start, shape (n,).
    lower, upper : array
        Bounds, shape (n,).
    active : array of bool
        Parameters that may move, shape (n,); the others are held.
    tol : float
        Largest estimated distance to the minimum, in units of the statistic.
    max_iter : int
        Most evaluations.
    trace_length : int
        Rows of the record of evaluations; 0 for none.
    longest : array, optional
        Longest step of each parameter, shape (n,); longer ones are shortened as a whole.

    Returns
    -------
    dict
        ``theta``, ``value``, ``gradient``, ``edm``, ``status`` (`SolverStatus`), ``nfev``, and
        ``trace`` of shape (trace_length, 1 + n).
    """
    n = theta.shape[0]
    state = {
        "theta": theta,
        "value": jnp.asarray(jnp.inf),
        "gradient": jnp.zeros(n),
        "fisher": jnp.zeros((n, n)),
        "damping": jnp.asarray(1e-4),
        "growth": jnp.asarray(4.0),
        "trial": theta,
        "edm": jnp.asarray(jnp.inf),
        "status": jnp.asarray(int(SolverStatus.RUNNING)),
        "nfev": jnp.asarray(0),
        "trace": jnp.zeros((trace_length, 1 + n)),
    }

    def proceed(s: dict[str, Any]) -> Any:
        return (s["status"] == int(SolverStatus.RUNNING)) & (s["nfev"] < jnp.maximum(max_iter, 1))

    # The start is evaluated by the loop too: what is traced twice takes twice as long to compile.
    def iterate(s: dict[str, Any]) -> dict[str, Any]:
        value, gradient, fisher = terms(s["trial"], s["edm"] > _FAR)
        is_start = s["nfev"] == 0
        accepted, good, poor = _judge(s, value, gradient, fisher)
        accepted = is_start | accepted
        damping = jnp.where(
            good, s["damping"] * 0.1, jnp.where(poor, s["damping"] * s["growth"], s["damping"])
        )
        damping = jnp.maximum(damping, 1e-12)
        damping = jnp.where(accepted, damping, jnp.maximum(damping, 1e-4))
        damping = jnp.where(is_start, s["damping"], damping)
        # On convergence the last step is still taken where it helps: it is free and quadratic.
        status = jnp.where(
            jnp.isfinite(s["edm"]) & (s["edm"] < tol),
            int(SolverStatus.CONVERGED),
            jnp.where(~accepted & (damping > 1e14), int(SolverStatus.STALLED), s["status"]),
        )
        status = jnp.where(is_start & ~jnp.isfinite(value), int(SolverStatus.NOT_FINITE), status)
        trace = s["trace"]
        if trace_length:
            row = jnp.concatenate([value[None], s["trial"]])
            trace = trace.at[jnp.minimum(s["nfev"], trace_length - 1)].set(row)
        new = {
            "theta": jnp.where(accepted, s["trial"], s["theta"]),
            "value": jnp.where(accepted, value, s["value"]),
            "gradient": jnp.where(accepted, gradient, s["gradient"]),
            "fisher": jnp.where(accepted, fisher, s["fisher"]),
            "damping": damping,
            "growth": jnp.where(accepted, 4.0, jnp.minimum(s["growth"] * 2.0, 1e4)),
            "status": status,
            "nfev": s["nfev"] + 1,
            "trace": trace,
        }
        moving = _held(new["theta"], new["gradient"], lower, upper, active)
        delta, edm = _step(new["fisher"], new["gradient"], moving, damping)
        if longest is not None:
            delta = delta / jnp.maximum(jnp.max(jnp.abs(delta) / longest), 1.0)
        trial = _within_bounds(new["theta"], delta, new["gradient"], lower, upper, tol)
        return {**new, "trial": trial, "edm": edm}

    final = jax.lax.while_loop(proceed, iterate, state)
    return {key: final[key] for key in ("theta", "value", "gradient", "edm", "status", "nfev", "trace")}


def _judge(s: dict[str, Any], value: Any, gradient: Any, fisher: Any) -> tuple[Any, Any, Any]:
    """Whether a trial is accepted, and whether the statistic fell as far as expected, or not nearly."""
    delta = s["trial"] - s["theta"]
    reduction = s["value"] - value
    expected = -(jnp.dot(s["gradient"], delta) + 0.5 * delta @ s["fisher"] @ delta)
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(fisher))
    # Near the minimum the reduction drowns in rounding: a step that changes nothing is accepted.
    rounding = 1e-13 * (jnp.abs(s["value"]) + 1.0)
    # Where counts are observed but fewer than none predicted, the statistic is cut off at a value that
    # is finite, and may be lower than at a start far away: no step may lead there.
    fallen = _on_cliff(gradient, fisher) & ~_on_cliff(s["gradient"], s["fisher"])
    accepted = finite & (reduction >= -rounding) & ~fallen
    good = accepted & (reduction > 0.75 * expected)
    poor = ~accepted | (reduction < 0.25 * expected)
    return accepted, good, poor
