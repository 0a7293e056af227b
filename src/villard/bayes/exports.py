"""Posteriors for other packages: ArviZ and corner."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import ParameterError
from villard.utils.lazy import import_optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from villard.bayes.posterior import Posterior

__all__ = ["plot_corner", "to_inference_data"]

#: Ratio of the ends of a parameter above which its axis is logarithmic.
_LOG_RATIO = 100.0
#: Most samples that are drawn: contours of more look the same.
_MAX_SAMPLES = 20_000


def to_inference_data(posterior: Posterior) -> Any:
    """Return ArviZ's `InferenceData` of a posterior."""
    with warnings.catch_warnings():
        # At import it announces that a newer release is differently built.
        warnings.simplefilter("ignore")
        arviz = import_optional("arviz", "arviz")
    if posterior.chains > 1:
        samples = posterior.samples.reshape(posterior.chains, -1, len(posterior.names))
        likelihood = posterior.log_likelihood.reshape(posterior.chains, -1)
    else:
        both = np.column_stack([posterior.samples, posterior.log_likelihood])
        joined = type(posterior)([*posterior.names, "lp"], both, posterior.weights)
        rows = joined.equal_weight_samples(n=max(int(posterior.ess), 100), random_state=0)
        samples, likelihood = rows[np.newaxis, :, :-1], rows[np.newaxis, :, -1]
    data = {name: samples[:, :, i] for i, name in enumerate(posterior.names)}
    attributes = {
        "log_evidence": posterior.log_evidence,
        "log_evidence_error": posterior.log_evidence_error,
        "sampler": posterior.sampler,
        "n_calls": posterior.n_calls,
    }
    stats = {"lp": likelihood}
    if not hasattr(arviz, "InferenceData"):
        # From version 1 on groups come in one dictionary.
        return arviz.from_dict({"posterior": data, "sample_stats": stats}, attrs={"posterior": attributes})
    return arviz.from_dict(posterior=data, sample_stats=stats, posterior_attrs=attributes, attrs=attributes)


def plot_corner(
    posterior: Posterior,
    truths: Mapping[str, float] | None,
    names: Sequence[str] | None,
    log_axes: Sequence[str] | None,
    **kwargs: Any,
) -> Figure:
    """Plot parameters against each other; see `Posterior.plot_corner`."""
    corner = import_optional("corner", "bayes")
    names = list(names or posterior.names)
    columns = [posterior._column(name) for name in names]
    for name in (*(truths or {}), *(log_axes or ())):
        posterior._column(name)
    for name in log_axes or ():
        if np.min(posterior[name]) <= 0:
            raise ParameterError(f"plot_corner: {name} isn't positive: it can't have a logarithmic axis")
    samples, weights = _thinned(posterior)
    data = samples[:, columns]
    scales = ["log" if _is_log(posterior, name, log_axes) else "linear" for name in names]
    labels = [f"{n} [{posterior.units[n]}]" if posterior.units.get(n) else n for n in names]
    options: dict[str, Any] = {
        "labels": labels,
        "bins": 25,
        "smooth": 0.8,
        "show_titles": True,
        # Amplitudes may be of the order of 1e-11.
        "title_fmt": ".3g",
        "truth_color": "#d1495b",
        "color": "#1d3557",
        "plot_datapoints": False,
        "fill_contours": True,
        "levels": (0.393, 0.865),
        "label_kwargs": {"fontsize": 11},
        "title_kwargs": {"fontsize": 10},
        "quantiles": [0.16, 0.5, 0.84],
    }
    given = None if truths is None else [truths.get(name) for name in names]
    with warnings.catch_warnings():
        # Of parameters that hardly vary.
        warnings.simplefilter("ignore")
        figure = corner.corner(
            data,
            weights=weights,
            truths=given,
            axes_scale=scales,
            **(options | _bins(posterior, names, truths or {}, options["bins"]) | kwargs),
        )
    _format_log_axes(figure)
    return figure


def _format_log_axes(figure: Figure) -> None:
    """Label a few round values of logarithmic axes that span less than a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, MaxNLocator, NullLocator

    for ax in figure.axes:
        for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            if axis.get_scale() == "log" and max(ends) < 10 * min(ends):
                # Inner axes have ticks without labels.
                is_labelled = isinstance(axis.get_major_formatter(), LogFormatterMathtext)
                axis.set_major_locator(MaxNLocator(4))
                axis.set_minor_locator(NullLocator())
                if is_labelled:
                    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _thinned(posterior: Posterior) -> tuple[Any, Any]:
    kept = posterior.weights > 1e-4 * posterior.weights.max()
    samples, weights = posterior.samples[kept], posterior.weights[kept]
    if len(samples) <= _MAX_SAMPLES:
        return samples, weights
    return posterior.equal_weight_samples(_MAX_SAMPLES, random_state=0), None


def _is_log(posterior: Posterior, name: str, log_axes: Sequence[str] | None) -> bool:
    if log_axes is not None:
        return name in log_axes
    if posterior.units.get(name, "") == "" and np.max(posterior[name]) <= 1:
        return False
    low, high = posterior.quantile(name, [0.001, 0.999])
    return bool(low > 0 and high > _LOG_RATIO * low)


def _bins(
    posterior: Posterior, names: Sequence[str], truths: Mapping[str, float], default: int
) -> dict[str, Any]:
    """Return ranges and numbers of bins: one for each value of a parameter on a grid."""
    ranges, numbers = [], []
    for name in names:
        low, high = _range(posterior, name, truths.get(name))
        values = np.unique(posterior[name])
        shown = values[(values >= low) & (values <= high)]
        if 0 < len(shown) < 3:
            # Few values are shown with their neighbours.
            first, last = np.searchsorted(values, shown[[0, -1]])
            shown = values[max(first - 1, 0) : last + 2]
        number = default
        if 2 <= len(shown) <= 40 and len(values) < 0.1 * len(posterior):
            number = len(shown)
            is_log = shown[0] > 0 and np.std(np.diff(np.log(shown))) < np.std(np.diff(shown))
            if is_log:
                step = (shown[-1] / shown[0]) ** (0.5 / (number - 1))
                low, high = shown[0] / step, shown[-1] * step
            else:
                half = 0.5 * (shown[-1] - shown[0]) / (number - 1)
                low, high = shown[0] - half, shown[-1] + half
        ranges.append((float(low), float(high)))
        numbers.append(number)
    return {"range": ranges, "bins": numbers}


def _range(posterior: Posterior, name: str, truth: float | None) -> tuple[float, float]:
    """Nearly all of the samples, and the true value."""
    low, high = (float(x) for x in posterior.quantile(name, [0.0005, 0.9995]))
    if truth is not None:
        low, high = min(low, truth), max(high, truth)
    if not low < high:
        width = abs(low) * 0.01 or 0.01
        low, high = low - width, high + width
    return low, high
