"""Measurements, models and datasets made of plain numbers, for tests of the engine and of Fit."""

from dataclasses import replace
from typing import Any

import numpy as np

from villard.likelihood import Measurement
from villard.likelihood.predict import predict
from villard.likelihood.statistics import STATISTICS
from villard.modeling.models import (
    LogParabolaSpectralModel,
    Models,
    PowerLawSpectralModel,
    SkyModel,
    SpectralModel,
)
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

AMPLITUDE = 3e-11


class CutoffSpectralModel(SpectralModel):
    """A user's model: power law with exponential cutoff, without closed integral."""

    index = Parameter("index", 2.0)
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", is_norm=True)
    lambda_ = Parameter("lambda_", "0.1 TeV-1")
    #: How often the likelihood traced the model.
    calls = 0

    @staticmethod
    def evaluate(energy: Any, index: Any, amplitude: Any, lambda_: Any) -> Any:
        CutoffSpectralModel.calls += 1
        return amplitude * energy ** (-index) * namespace(energy, lambda_).exp(-lambda_ * energy)


class TwoLinesSpectralModel(SpectralModel):
    """A user's model with two amplitudes, so that it has no single norm."""

    first = Parameter("first", "1e-12 TeV-1 cm-2 s-1", is_norm=True)
    second = Parameter("second", "1e-12 TeV-1 cm-2 s-1", is_norm=True)

    @staticmethod
    def evaluate(energy: Any, first: Any, second: Any) -> Any:
        return first * energy**-2.0 + second * energy**-3.0


class Toy:
    """A dataset as the likelihood sees it: a name, models and a measurement."""

    def __init__(self, measurement: Measurement, models: Any = None) -> None:
        self.name = measurement.name
        self.models = None if models is None else Models(models)
        self._measurement = measurement

    def measurement(self) -> Measurement:
        return self._measurement


def power_law(name: str = "pl", **kwargs: Any) -> SkyModel:
    options = {key: kwargs.pop(key) for key in ("datasets_names", "apply_irf") if key in kwargs}
    values = {"index": 2.4, "amplitude": f"{AMPLITUDE} TeV-1 cm-2 s-1", **kwargs}
    return SkyModel(PowerLawSpectralModel(**values), name=name, **options)


def log_parabola(name: str = "lp", **kwargs: Any) -> SkyModel:
    values = {
        "amplitude": f"{AMPLITUDE} TeV-1 cm-2 s-1",
        "reference": "1 TeV",
        "alpha": 2.2,
        "beta": 0.2,
        **kwargs,
    }
    return SkyModel(LogParabolaSpectralModel(**values), name=name)


def cutoff(name: str = "cutoff", **kwargs: Any) -> SkyModel:
    values = {"index": 2.0, "amplitude": f"{AMPLITUDE} TeV-1 cm-2 s-1", "lambda_": "0.1 TeV-1", **kwargs}
    return SkyModel(CutoffSpectralModel(**values), name=name)


def two_lines(name: str = "two") -> SkyModel:
    unit = "TeV-1 cm-2 s-1"
    return SkyModel(TwoLinesSpectralModel(first=f"1e-11 {unit}", second=f"2e-11 {unit}"), name=name)


def edisp(energy_true: np.ndarray, energy: np.ndarray, resolution: float = 0.15) -> np.ndarray:
    """Gaussian in ln E between bin edges, shape (n_true, n_bins)."""
    from scipy.special import ndtr

    center = np.log(energy_true[:-1] * energy_true[1:]) / 2
    cumulative = ndtr((np.log(energy) - center[:, None]) / resolution)
    return np.diff(cumulative, axis=1)


def measurement(
    name: str = "toy",
    statistic: str = "wstat",
    n_bins: int = 12,
    n_true: int | None = 20,
    seed: int = 0,
    exposure: float = 1e13,
    models: Any = None,
    asimov: bool = False,
) -> Measurement:
    """Simulate a measurement of models (a power law by default); ``n_true=None``: no dispersion."""
    rng = np.random.default_rng(seed)
    energy = np.geomspace(0.5, 50, n_bins + 1)
    energy_true = energy if n_true is None else np.geomspace(0.3, 80, n_true + 1)
    n_energies = len(energy_true) - 1
    differential = statistic in {"chi2", "distrib", "censored"}
    if differential:
        energy_true, n_energies = np.geomspace(0.6, 45, n_bins + 1), n_bins
    empty = Measurement(
        name,
        statistic,
        {},
        np.ones(n_bins, dtype=bool),
        energy_true[:-1],
        energy_true[:-1] if differential else energy_true[1:],
        np.ones(n_energies) if differential else exposure * (1 + 0.3 * np.sin(np.arange(n_energies))),
        None if differential or n_true is None else edisp(energy_true, energy),
        None if differential or statistic == "wstat" else 2.0 * np.exp(-0.3 * np.arange(n_bins)),
        differential,
    )
    npred = predict(empty, [power_law()] if models is None else models)
    data = (_flux_data if differential else _counts_data)(rng, statistic, npred, empty.background, asimov)
    names = STATISTICS[statistic].data_names
    mask = np.ones(n_bins, dtype=bool)
    mask[0] = False
    return replace(empty, data={key: data[key] for key in names}, mask=mask)


def _counts_data(rng: Any, statistic: str, npred: Any, background: Any, asimov: bool) -> dict[str, Any]:
    draw = (lambda mu: mu) if asimov else (lambda mu: rng.poisson(mu).astype(float))
    if statistic != "wstat":
        return {"counts": draw(npred + background)}
    alpha = 0.1 + 0.1 * rng.uniform(size=len(npred))
    off = 3.0 * np.exp(-0.3 * np.arange(len(npred))) / alpha
    return {"counts": draw(npred + alpha * off), "counts_off": draw(off), "alpha": alpha}


def _flux_data(rng: Any, statistic: str, npred: Any, background: Any, asimov: bool) -> dict[str, Any]:
    error = 0.1 * npred
    value = npred + (0 if asimov else 1) * error * rng.normal(size=len(npred))
    is_ul = np.zeros(len(npred))
    is_ul[-2:] = 1
    return {
        "value": np.where((is_ul > 0) & (statistic != "chi2"), 0.0, value),
        "error": error,
        "errn": error,
        "errp": 1.2 * error,
        "ul": 1.5 * npred,
        "ul_error": 0.75 * npred,
        "is_ul": is_ul,
    }
