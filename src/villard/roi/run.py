"""What the command ``villard roi`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from villard.exceptions import ConfigError, FitError
from villard.roi.products import default_overwrite, region_paths, without_suffix
from villard.utils.io import check_overwrite
from villard.utils.paths import make_path

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
    plots : bool
        Whether all of these, and the region itself, are plotted.
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

    @property
    def looks(self) -> bool:
        """Whether anything is to be done besides the fit."""
        several = any((self.localize, self.extension, self.sed))
        return several or any((self.find_sources, self.tsmap, self.residmap, self.psmap))


@dataclass
class ROIRun:
    """What `run_roi` has done: the region, a sentence per step, whether all succeeded, and the files."""

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
        Whether existing files are replaced; by default as the configuration says.
    report : callable
        Called with what is being done.
    """
    from villard.roi import ROI

    _check_steps(steps)
    report("Reading data and models")
    is_written = os.fspath(config).endswith((".fits", ".fits.gz"))
    roi = ROI.load_roi(config) if is_written else ROI.from_config(config)
    # What can't be done is told before hours of work.
    _check_sources(roi, steps)
    replace = default_overwrite(roi) if overwrite is None else overwrite
    for path in region_paths(roi, output):
        check_overwrite(path, replace)
    run = ROIRun(roi)
    if steps.optimize:
        report("Optimising")
        result = roi.optimize()
        run.messages.append(f"optimize: ln L {result['loglike0']:.3f} -> {result['loglike1']:.3f}")
    if steps.fit:
        _fit(run, steps, report)
    if (steps.optimize or steps.fit) and steps.looks:
        # So that the fit isn't lost if the rest is interrupted.
        report("Writing")
        roi.write_roi(output, overwrite=replace)
        replace = True
    products = _look(run, steps, output, replace, report)
    report("Writing")
    run.paths = [*roi.write_roi(output, overwrite=replace, make_plots=steps.plots), *products]
    return run


def _check_steps(steps: ROISteps) -> None:
    if steps.free not in ("norm", "all"):
        raise ConfigError(f"free: expected 'norm' or 'all', found {steps.free!r}")
    if steps.distance is not None and not steps.distance > 0:
        raise ConfigError(f"distance: expected an angle above 0 (deg), found {steps.distance:g}")
    if not steps.fit and (steps.distance is not None or steps.free != "norm"):
        raise ConfigError("free and distance say what a fit frees, but no fit is asked for")


def _check_sources(roi: Any, steps: ROISteps) -> None:
    from villard.roi.refit import check_movable
    from villard.roi.sed import check_source

    for name in steps.localize:
        check_movable(roi, name, "localize")
    for name in steps.extension:
        check_movable(roi, name, "extension")
    for name in steps.sed:
        check_source(roi[name], "sed")


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


def _look(
    run: ROIRun, steps: ROISteps, output: str, replace: bool, report: Callable[[str], Any]
) -> list[Path]:
    """Search, localise, make spectra and maps; return the files. One that fails doesn't end the others."""
    roi = run.roi
    files = {"prefix": str(without_suffix(make_path(output))), "overwrite": replace}
    plotted = {**files, "make_plots": steps.plots}
    paths: list[Path] = []

    def attempt(kind: str, call: Callable[[], Any], tell: Callable[[Any], str]) -> None:
        try:
            result = call()
        except FitError as error:
            run.success = False
            run.messages.append(f"{kind}: failed. {error}")
            return
        run.messages.append(f"{kind}: {tell(result)}")
        written = result.get("file") if isinstance(result, Mapping) else result["file"]
        if written:
            paths.append(Path(written))

    if steps.find_sources:
        report("Searching for sources")
        attempt("find_sources", lambda: roi.find_sources(**files), _found)
    for name in steps.localize:
        report(f"Localising {name}")
        call = partial(roi.localize, name, **plotted)
        attempt(f"localize {name}", call, lambda r: f"within {r['pos_r95']:.4f} deg (95 %)")
    for name in steps.extension:
        report(f"Testing {name} for extension")
        attempt(f"extension {name}", partial(roi.extension, name, **plotted), _width)
    for name in steps.sed:
        report(f"SED of {name}")
        attempt(f"sed {name}", partial(roi.sed, name, **plotted), _spectrum)
    for kind in ("tsmap", "residmap", "psmap"):
        if getattr(steps, kind):
            report(f"Making the {kind}")
            attempt(kind, partial(getattr(roi, kind), **plotted), _extreme)
    return paths


def _found(result: Mapping[str, Any]) -> str:
    names = [source.name for source in result["sources"]]
    return f"{len(names)} found{': ' if names else ''}{', '.join(names)}"


def _width(result: Mapping[str, Any]) -> str:
    return f"{result['ext']:.4f} deg, below {result['ext_ul95']:.4f} deg (95 %), TS {result['ts_ext']:.2f}"


def _spectrum(result: Any) -> str:
    return f"{int(np.sum(~result['is_ul']))} of {len(result)} bins with a detection"


def _extreme(result: Mapping[str, Any]) -> str:
    key = next(key for key in ("sqrt_ts", "sigma", "psmap") if key in result)
    name = {"sqrt_ts": "sqrt(TS)", "sigma": "sigma", "psmap": "PS"}[key]
    data = result[key].data
    return f"{name} from {np.nanmin(data):.2f} to {np.nanmax(data):.2f}"
