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
from typing import Any

from villard._jax import jax, jnp

__all__ = ["SolverStatus", "minimize"]

_TOWARDS_BOUND = 0.9
#: Estimated distance to the minimum from which on the expected curvature is taken.
_FAR = 0.1
#: Squared gradient over curvature (twice a distance to the minimum) beyond which it is no slope but a cliff.
_CLIFF = 1e18


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
    roots = jnp.linalg.cholesky(matrix + jax.vmap(jnp.diag)(on_diagonal))
    right = jnp.broadcast_to(gradient / scale, (2, *gradient.shape))
    half = jax.scipy.linalg.solve_triangular(roots, right[..., None], lower=True)
    scaled = -jax.scipy.linalg.solve_triangular(roots[0], half[0, :, 0], lower=True, trans=1)
    # With the damping in it the distance would be underestimated where parameters are degenerate.
    return scaled / scale, 0.5 * jnp.sum(half[1] ** 2)


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

    Returns
    -------
    dict
        ``theta``, ``value``, ``gradient``, ``edm``, ``status`` (`SolverStatus`), ``nfev``, and
        ``trace`` of shape (trace_length, 1 + n).
    """
    value, gradient, fisher = terms(theta, True)
    n = theta.shape[0]
    trace = jnp.zeros((trace_length, 1 + n))
    if trace_length:
        trace = trace.at[0].set(jnp.concatenate([value[None], theta]))
    state = {
        "theta": theta,
        "value": value,
        "gradient": gradient,
        "fisher": fisher,
        "damping": jnp.asarray(1e-4),
        "growth": jnp.asarray(4.0),
        "edm": jnp.asarray(jnp.inf),
        "status": jnp.where(jnp.isfinite(value), int(SolverStatus.RUNNING), int(SolverStatus.NOT_FINITE)),
        "nfev": jnp.asarray(1),
        "trace": trace,
    }

    def proceed(s: dict[str, Any]) -> Any:
        return (s["status"] == int(SolverStatus.RUNNING)) & (s["nfev"] < max_iter)

    def iterate(s: dict[str, Any]) -> dict[str, Any]:
        moving = _held(s["theta"], s["gradient"], lower, upper, active)
        delta, edm = _step(s["fisher"], s["gradient"], moving, s["damping"])
        trial = _within_bounds(s["theta"], delta, s["gradient"], lower, upper, tol)
        delta = trial - s["theta"]
        value, gradient, fisher = terms(trial, edm > _FAR)
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
        damping = jnp.where(
            good, s["damping"] * 0.1, jnp.where(poor, s["damping"] * s["growth"], s["damping"])
        )
        damping = jnp.maximum(damping, 1e-12)
        damping = jnp.where(accepted, damping, jnp.maximum(damping, 1e-4))
        converged = jnp.isfinite(edm) & (edm < tol)
        stalled = ~accepted & (damping > 1e14)
        status = jnp.where(
            converged, int(SolverStatus.CONVERGED), jnp.where(stalled, int(SolverStatus.STALLED), s["status"])
        )
        # On convergence the last step is still taken where it helps: it is free and quadratic.
        nfev = s["nfev"] + 1
        trace = s["trace"]
        if trace_length:
            row = jnp.concatenate([value[None], trial])
            trace = trace.at[jnp.minimum(nfev - 1, trace_length - 1)].set(row)
        return {
            "theta": jnp.where(accepted, trial, s["theta"]),
            "value": jnp.where(accepted, value, s["value"]),
            "gradient": jnp.where(accepted, gradient, s["gradient"]),
            "fisher": jnp.where(accepted, fisher, s["fisher"]),
            "damping": damping,
            "growth": jnp.where(accepted, 4.0, jnp.minimum(s["growth"] * 2.0, 1e4)),
            "edm": edm,
            "status": status,
            "nfev": nfev,
            "trace": trace,
        }

    final = jax.lax.while_loop(proceed, iterate, state)
    return {key: final[key] for key in ("theta", "value", "gradient", "edm", "status", "nfev", "trace")}
