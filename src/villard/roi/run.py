"""What the command ``villard roi`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from villard.exceptions import ConfigError

__all__ = ["ROIRun", "ROISteps", "run_roi"]


@dataclass(frozen=True)
class ROISteps:
    """Steps of `run_roi`, in the order in which they are made.

    Parameters
    ----------
    optimize, fit : bool
        Whether norms and shapes are optimised, and fitted together.
    free : {"norm", "all"}
        What is freed for the fit.
    distance : float, optional
        Distance from the centre (deg) within which it is freed, and diffuse emission; everywhere by default.
    find_sources : bool
        Whether sources are searched for and added.
    localize, extension, sed : list of str
        Sources that are localised, tested for extension, and of which there shall be SEDs.
    tsmap, residmap, psmap : bool
        Whether maps are made.
    """

    optimize: bool = False
    fit: bool = False
    free: str = "norm"
    distance: float | None = None
    find_sources: bool = False
    localize: Sequence[str] = ()
    extension: Sequence[str] = ()
    sed: Sequence[str] = ()
    tsmap: bool = False
    residmap: bool = False
    psmap: bool = False
    plots: bool = False


@dataclass
class ROIRun:
    """What `run_roi` has done: the region, a sentence per step, and whether the fit succeeded."""

    roi: Any
    messages: list[str] = field(default_factory=list)
    success: bool = True
    paths: list[Path] = field(default_factory=list)


def run_roi(
    config: str | os.PathLike[str],
    steps: ROISteps,
    output: str = "roi",
    overwrite: bool | None = None,
    report: Callable[[str], Any] = lambda message: None,
) -> ROIRun:
    """Make a region of a configuration, or of what `ROI.write_roi` has written, and go through steps.

    Parameters
    ----------
    config : path
        YAML file of a configuration, or FITS file of a region.
    steps : `ROISteps`
        Steps.
    output : str
        Name of the files that are written.
    overwrite : bool, optional
        Whether existing files are replaced.
    report : callable
        Called with what is being done.
    """
    from villard.roi import ROI

    if steps.free not in ("norm", "all"):
        raise ConfigError(f"free: expected 'norm' or 'all', found {steps.free!r}")
    report("Reading data and models")
    is_written = os.fspath(config).endswith((".fits", ".fits.gz"))
    roi = ROI.load_roi(config) if is_written else ROI.from_config(config)
    # A name that isn't there is told before hours of work.
    for name in (*steps.localize, *steps.extension, *steps.sed):
        roi[name]
    run = ROIRun(roi)
    if steps.optimize:
        report("Optimising")
        result = roi.optimize()
        run.messages.append(f"optimize: ln L {result['loglike0']:.3f} -> {result['loglike1']:.3f}")
    if steps.fit:
        _fit(run, steps, report)
    _look(run, steps, output, report)
    report("Writing")
    run.paths = roi.write_roi(output, overwrite=overwrite, make_plots=steps.plots)
    return run


def _fit(run: ROIRun, steps: ROISteps, report: Callable[[str], Any]) -> None:
    roi = run.roi
    report("Fitting")
    roi.free_sources(free=False)
    pars = "norm" if steps.free == "norm" else None
    roi.free_sources(pars=pars, distance=steps.distance, exclude_diffuse=False)
    result = roi.fit()
    run.success = bool(result["fit_success"])
    run.messages.append(
        f"fit: quality {result['fit_quality']}, ln L {result['loglike']:.3f} ({result['dloglike']:+.3f}). "
        f"{result.get('fit_message', '')}".rstrip()
    )


def _look(run: ROIRun, steps: ROISteps, output: str, report: Callable[[str], Any]) -> None:
    roi = run.roi
    prefix = Path(output).name
    if steps.find_sources:
        report("Searching for sources")
        found = roi.find_sources(prefix=prefix)
        names = [source["name"] for source in found["sources"]] if isinstance(found, dict) else found
        run.messages.append(f"find_sources: {len(names)} found")
    for name in steps.localize:
        report(f"Localising {name}")
        result = roi.localize(name)
        run.messages.append(f"localize {name}: within {result['pos_r95']:.4f} deg (95 %)")
    for name in steps.extension:
        report(f"Testing {name} for extension")
        result = roi.extension(name)
        run.messages.append(
            f"extension {name}: {result['ext']:.4f} deg, below {result['ext_ul95']:.4f} deg (95 %), "
            f"TS {result['ts_ext']:.2f}"
        )
    for name in steps.sed:
        report(f"SED of {name}")
        roi.sed(name, prefix=prefix, write_fits=True, make_plots=steps.plots)
        run.messages.append(f"sed {name}: written")
    for kind in ("tsmap", "residmap", "psmap"):
        if getattr(steps, kind):
            report(f"Making the {kind}")
            getattr(roi, kind)(prefix=prefix, make_plots=steps.plots)
            run.messages.append(f"{kind}: written")
