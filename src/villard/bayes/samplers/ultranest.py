"""Nested sampling by UltraNest (Buchner 2021, JOSS 6, 3001), which is under the GPL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.bayes.samplers.base import Draws, Run
from villard.utils.lazy import import_optional

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

DEFAULTS: dict[str, Any] = {
    "nlive": 400,
    "dlogz": 0.5,
    "dKL": 0.5,
    "min_ess": 400,
    "frac_remain": 0.01,
    "slice_steps": None,
    "max_ncalls": None,
}


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Run UltraNest's reactive nested sampler; it keeps its points in its own files in the checkpoint."""
    ultranest = import_optional("ultranest", "ultranest")
    keep = run.checkpoint
    # It draws from numpy's global generator, which is put back afterwards.
    state = np.random.get_state()  # noqa: NPY002 - what it draws from
    level = logging.getLogger("ultranest").level
    try:
        np.random.seed(run.seed)  # noqa: NPY002 - what it draws from
        logging.getLogger("ultranest").setLevel(logging.WARNING)
        sampler = ultranest.ReactiveNestedSampler(
            problem.names,
            problem.log_likelihood,
            problem.prior_transform,
            vectorized=True,
            log_dir=None if keep is None else str(keep.folder / "ultranest"),
            resume="resume",
        )
        # Making the sampler has set it back.
        sampler.logger.setLevel(logging.WARNING)
        if settings["slice_steps"]:
            steps = import_optional("ultranest.stepsampler", "ultranest")
            sampler.stepsampler = steps.SliceSampler(
                nsteps=settings["slice_steps"],
                generate_direction=steps.generate_mixture_random_direction,
            )
        names = ("dlogz", "dKL", "min_ess", "frac_remain", "max_ncalls")
        result = sampler.run(
            min_num_live_points=settings["nlive"],
            show_status=bool(run.progress),
            viz_callback=False,
            **{name: settings[name] for name in names},
        )
    finally:
        logging.getLogger("ultranest").setLevel(level)
        np.random.set_state(state)  # noqa: NPY002 - what it draws from
    weighted = result["weighted_samples"]
    with np.errstate(divide="ignore"):
        log_weight = np.log(weighted["weights"])
    return Draws(
        np.asarray(weighted["points"]),
        np.asarray(weighted["logl"]),
        log_weight,
        float(result["logz"]),
        float(result["logzerr"]),
        int(result["ncall"]),
        {"information": float(result["H"]), "insertion_test_converged": _converged(result)},
    )


def _converged(result: dict[str, Any]) -> bool:
    test = result.get("insertion_order_MWW_test") or {}
    return bool(test.get("converged", True))
