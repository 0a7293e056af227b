"""Summaries of datasets of counts as dictionaries and as text."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.likelihood.statistics import cstat, wstat
from villard.modeling.models.core import parameter_lines

__all__ = ["describe", "info_dict", "significance"]


def significance(excess: float, stat_of_background: float) -> float:
    """Return the significance in sigma of counts whose statistic without source is given.

    The statistic is 0 for a perfect prediction, so its value without source is the test statistic of
    the source.
    """
    return float(np.sign(excess) * np.sqrt(max(stat_of_background, 0.0)))


def _sum(dataset: Any, name: str, selected: NDArray[np.bool_]) -> float:
    value = getattr(dataset, name)
    if value is None:
        return 0.0 if name == "background" else float("nan")
    return float(np.sum(value.data.reshape(-1)[selected], dtype=float))


def info_dict(dataset: Any, in_safe_data_range: bool = True) -> dict[str, Any]:
    """Return a summary of a dataset; see `CountsDataset.info_dict`."""
    n_bins = int(np.prod(dataset.data_shape))
    selected = np.ones(n_bins, dtype=bool)
    if in_safe_data_range and dataset.mask_safe is not None:
        selected = dataset.mask_safe.data.reshape(-1)
    counts, background = (_sum(dataset, name, selected) for name in ("counts", "background"))
    info: dict[str, Any] = {
        "name": dataset.name,
        "counts": counts,
        "excess": counts - background,
        "sqrt_ts": float("nan"),
        "background": background,
    }
    info |= _predictions(dataset, selected)
    info |= _exposure(dataset, selected)
    livetime = info["livetime"]
    for key in ("counts", "background", "excess"):
        rate = info[key] / livetime.value if livetime.value > 0 else np.nan
        info[f"{key}_rate"] = u.Quantity(rate, "s-1")
    info["n_bins"] = n_bins
    info["n_fit_bins"] = int(np.sum(dataset._mask_array()))
    info["stat_type"] = dataset.stat_type
    # The sum over no bin; a cube's measurement would be an error.
    info["stat_sum"] = 0.0
    if info["n_fit_bins"]:
        info["stat_sum"] = dataset.stat_sum() if _is_complete(dataset) else float("nan")
    if hasattr(dataset, "counts_off"):
        info |= _off(dataset, selected, background)
        info["sqrt_ts"] = _li_ma(info)
    elif np.isfinite(counts):
        info["sqrt_ts"] = significance(info["excess"], float(cstat(counts, background)))
    return info


def _is_complete(dataset: Any) -> bool:
    return all(getattr(dataset, key) is not None for key in ("counts", *dataset._stack_required))


def _predictions(dataset: Any, selected: NDArray[np.bool_]) -> dict[str, float]:
    """Predicted counts; NaN for the signal where there are no models, as in Gammapy."""
    background = float("nan")
    if _is_complete(dataset):
        background = float(np.sum(dataset.npred_background().data.reshape(-1)[selected]))
    if not dataset.models:
        return {"npred": background, "npred_background": background, "npred_signal": float("nan")}
    signal = float(np.sum(dataset.npred_signal().data.reshape(-1)[selected]))
    return {"npred": signal + background, "npred_background": background, "npred_signal": signal}


def _exposure(dataset: Any, selected: NDArray[np.bool_]) -> dict[str, Any]:
    """Bounds of the exposure in pixels that are selected at any energy, livetime and ontime."""
    bounds = {"exposure_min": u.Quantity(np.nan, "cm2 s"), "exposure_max": u.Quantity(np.nan, "cm2 s")}
    if dataset.exposure is not None:
        data = dataset.exposure.data
        pixels = selected.reshape(dataset.data_shape).any(axis=0)
        # Maps of exposure may have other pixels.
        if pixels.size > 1 and data.shape[1:] == pixels.shape:
            data = data[:, pixels]
        if np.any(data > 0):
            bounds["exposure_min"] = u.Quantity(data[data > 0].min(), dataset.exposure.unit)
            bounds["exposure_max"] = u.Quantity(data.max(), dataset.exposure.unit)
    ontime = u.Quantity(np.nan, "s") if dataset.gti is None else dataset.gti.time_sum
    return {**bounds, "livetime": dataset.livetime, "ontime": ontime}


def _off(dataset: Any, selected: NDArray[np.bool_], background: float) -> dict[str, float]:
    """Off counts and acceptances; α is that of all bins together, with their off counts as weights."""
    names = ("counts_off", "acceptance", "acceptance_off")
    off, acceptance, acceptance_off = (_sum(dataset, name, selected) for name in names)
    if off > 0 and background > 0:
        acceptance_off = acceptance * off / background
    alpha = acceptance / acceptance_off if acceptance_off > 0 else float("nan")
    return {"counts_off": off, "acceptance": acceptance, "acceptance_off": acceptance_off, "alpha": alpha}


def _li_ma(info: dict[str, Any]) -> float:
    if not (np.isfinite(info["alpha"]) and np.isfinite(info["counts"])):
        return float("nan")
    # With the most likely background this is the statistic of Li & Ma 1983, ApJ 272, 317, eq. 17.
    stat = wstat(info["counts"], info["counts_off"], info["alpha"], 0.0)
    return significance(info["counts"] - info["alpha"] * info["counts_off"], float(stat))


# Text


def describe(dataset: Any) -> str:
    """Return a readable block about a dataset and its models."""
    title = type(dataset).__name__
    info = info_dict(dataset)
    n_free = len(dataset.parameters.free_parameters)
    blocks = [
        {"Name": dataset.name},
        {
            "Total counts": f"{info['counts']:.6g}",
            "Total background counts": f"{info['background']:.2f}",
            "Total excess counts": f"{info['excess']:.2f}",
        },
        {
            "Predicted counts": f"{info['npred']:.2f}",
            "Predicted background counts": f"{info['npred_background']:.2f}",
            "Predicted excess counts": f"{info['npred_signal']:.2f}",
        },
        {
            "Livetime": f"{info['livetime']:.6g}",
            "Exposure min": f"{info['exposure_min']:.2e}",
            "Exposure max": f"{info['exposure_max']:.2e}",
        },
        {"Number of total bins": info["n_bins"], "Number of fit bins": info["n_fit_bins"]},
        {
            "Fit statistic type": info["stat_type"],
            "Fit statistic value (-2 log(L))": f"{info['stat_sum']:.2f}",
        },
        {
            "Number of models": len(dataset.models or ()),
            "Number of parameters": len(dataset.parameters),
            "Number of free parameters": n_free,
        },
    ]
    if "counts_off" in info:
        blocks.append(
            {
                "Total counts_off": f"{info['counts_off']:.6g}",
                "Acceptance": f"{info['acceptance']:.6g}",
                "Acceptance off": f"{info['acceptance_off']:.6g}",
            }
        )
    lines = [title, "-" * len(title), ""]
    for block in blocks:
        lines += [f"  {key:<32}: {value}" for key, value in block.items()]
        lines.append("")
    for i, model in enumerate(dataset.models or ()):
        lines += [*_describe_model(i, model), ""]
    return "\n".join(lines)


def _describe_model(i: int, model: Any) -> list[str]:
    lines = [f"  Component {i}: {type(model).__name__}", ""]
    rows = {
        "Name": model.name,
        "Datasets names": "all" if model.datasets_names is None else ", ".join(model.datasets_names),
    }
    for kind in ("spectral", "spatial", "temporal"):
        part = getattr(model, f"{kind}_model", None)
        if part is not None:
            rows[f"{kind.capitalize()} model type"] = type(part).__name__
    lines += [f"    {key:<26}: {value}" for key, value in rows.items()]
    lines += ["    Parameters:", *(f"      {line}" for line in parameter_lines(model.parameters))]
    return lines
