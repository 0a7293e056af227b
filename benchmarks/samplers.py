"""Samplers on one posterior: the mixture of a published run of GammaBayes, whose exact evidence is known."""

import sys
import time
from pathlib import Path

import numpy as np

from villard.bayes import GridLeaf, Mixture, ParameterGrid

REFERENCE = Path(__file__).resolve().parents[1] / "tests" / "reference" / "event_mixture.npz"
OPTIONS = {"dynesty": {"dlogz": 0.1}, "nautilus": {"n_eff": 5000}}


def make_mixture(discrete: bool = True) -> Mixture:
    """Return the mixture, with the mass on 121 values or interpolated between them."""
    with np.load(REFERENCE) as file:
        density = {k: np.exp(file[f"all_{k}"].astype(float)) for k in ("DM", "CCR", "HESS", "diffuse")}
        grid = ParameterGrid(file["mass"], discrete=discrete)
        weights = file["weights"]
    dark = GridLeaf(density.pop("DM").T, {"mass": grid})
    return Mixture({"DM": dark, "bkg": density}, weights=weights)


def main() -> None:
    names = sys.argv[1:] or ["dynesty", "ultranest", "nautilus", "nss", "nuts", "emcee", "importance"]
    print("| sampler | CPU seconds | calls | effective samples | ln Z | its own ln Z | DM |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        mixture = make_mixture(discrete=name != "nuts")
        start = time.process_time()
        p = mixture.sample(name, random_state=1, progress=False, **OPTIONS.get(name, {}))
        seconds = time.process_time() - start
        told, own = p.diagnostics, ""
        if "own_log_evidence" in told:
            own = f"{told['own_log_evidence']:.3f} ± {told['own_log_evidence_error']:.3f}"
        z = f"{p.log_evidence:.3f} ± {p.log_evidence_error:.3f}"
        share = f"{p.mean['DM']:.3f} ± {p.sd['DM']:.3f}"
        cells = [f"`{name}`", f"{seconds:.1f}", str(p.n_calls), f"{p.ess:.0f}", z, own, share]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
