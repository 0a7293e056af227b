"""What a measurement is expected to give if its models are true, and random draws around it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.likelihood.measurement import Measurement
from villard.likelihood.predict import predict
from villard.likelihood.statistics import get_wstat_mu_bkg

__all__ = ["Expectation", "as_list", "expectations"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Expectation:
    """Expected values of what one dataset measures.

    Attributes
    ----------
    measurement : `~villard.likelihood.Measurement`
        Record of the dataset.
    expected : dict of str to array
        Expected values by their name in ``measurement.data``, each of shape (n_bins,).
    """

    measurement: Measurement
    expected: dict[str, Array]

    def draw(self, rng: Any, size: int) -> dict[str, Array]:
        """Return random measurements.

        Counts are Poisson variables. Fluxes are Gaussian ones; of asymmetric errors the one on the
        model's side belongs to each half, as the statistic counts them.

        Parameters
        ----------
        rng : `~numpy.random.Generator` or `~numpy.random.RandomState`
            Random numbers.
        size : int
            Number of measurements.

        Returns
        -------
        dict of str to array
            Values by name, each of shape (size, n_bins).
        """
        if "value" in self.expected:
            return {"value": self._draw_fluxes(rng, size)}
        return {key: rng.poisson(mu, size=(size, len(mu))).astype(float) for key, mu in self.expected.items()}

    def _draw_fluxes(self, rng: Any, size: int) -> Array:
        data, mu = self.measurement.data, self.expected["value"]
        low = np.nan_to_num(data["errn"] if "errn" in data else data["error"])
        high = np.nan_to_num(data["errp"] if "errp" in data else data["error"])
        deviation = rng.normal(size=(size, len(mu)))
        if "errn" not in data:
            return mu + low * deviation
        # A value below the model is compared by its upper error, one above by its lower error; the
        # probabilities of the two sides are in the ratio of their widths.
        below = rng.uniform(size=deviation.shape) * (low + high) < high
        return mu + np.where(below, -high, low) * np.abs(deviation)


def as_list(datasets: Any) -> list[Any]:
    """Return one dataset or several as a list."""
    datasets = [datasets] if hasattr(datasets, "measurement") else list(datasets)
    if not datasets:
        raise DataError("There are no datasets to simulate")
    return datasets


def expectations(datasets: Any, npred_background: Any = None) -> list[Expectation]:
    """Return what datasets are expected to measure, if the present values of their models are true.

    Parameters
    ----------
    datasets : dataset, list of datasets or `~villard.datasets.Datasets`
        Responses and models.
    npred_background : map, array or dict of these by name of dataset, optional
        True background counts in the on region of datasets with an off region, along the energy
        axis. By default the most likely ones, given the measured counts and the models.

    Raises
    ------
    DataError
        If a dataset has no models, expected counts are negative or not finite in the fit range, or
        its kind of data can't be simulated.
    """
    datasets = as_list(datasets)
    names = [d.name for d in datasets]
    if isinstance(npred_background, Mapping):
        unknown = set(npred_background) - set(names)
        if unknown:
            raise DataError(
                f"npred_background: no dataset {sorted(unknown)[0]!r}, the datasets are {', '.join(names)}"
            )
        backgrounds = dict(npred_background)
    else:
        backgrounds = dict.fromkeys(names, npred_background)
    return [_expectation(d, backgrounds.get(d.name)) for d in datasets]


def _expectation(dataset: Any, npred_background: Any) -> Expectation:
    if not dataset.models:
        raise DataError(f"Dataset {dataset.name!r}: set models before simulating")
    empty = {"counts"} if npred_background is None else {"counts", "counts_off"}
    measurement = _measurement(dataset, empty)
    statistic = measurement.statistic
    signal = predict(measurement, dataset.models)
    if statistic == "wstat":
        background = _background(measurement, signal, npred_background, dataset.counts is None)
        expected = {"counts": signal + background[0], "counts_off": background[1]}
    elif npred_background is not None:
        raise DataError(
            f"Dataset {measurement.name!r}: npred_background is for datasets with an off region, "
            f"found the statistic {statistic!r}"
        )
    elif statistic in {"cash", "cstat"}:
        expected = {"counts": signal + measurement.background_of(dataset.models)}
    elif statistic in {"chi2", "distrib", "censored"}:
        _check_no_limits(measurement)
        return Expectation(measurement, {"value": signal})
    else:
        raise DataError(
            f"Dataset {measurement.name!r}: data of the statistic {statistic!r} can't be simulated, "
            "expected one of cash, cstat, wstat, chi2, distrib, censored"
        )
    return Expectation(measurement, {k: _checked(measurement, k, mu) for k, mu in expected.items()})


def _measurement(dataset: Any, may_be_empty: set[str]) -> Measurement:
    """Return the record of a dataset, with counts of 0 where there are none yet."""
    missing = [key for key in sorted(may_be_empty) if getattr(dataset, key, 0) is None]
    if missing:
        models, dataset = dataset.models, dataset.copy(name=dataset.name)
        for key in missing:
            setattr(dataset, key, dataset._as_map(np.zeros(dataset.data_shape)))
        dataset.models = models
    measurement: Measurement = dataset.measurement()
    return measurement


def _background(
    measurement: Measurement, signal: Array, npred_background: Any, without_counts: bool
) -> tuple[Array, Array]:
    """Return the true background in the on and in the off region."""
    data = measurement.data
    alpha = np.where(np.isfinite(data["alpha"]), data["alpha"], 0.0)
    if npred_background is None:
        off = data["counts_off"]
        if not without_counts:
            off = np.asarray(get_wstat_mu_bkg(data["counts"], off, alpha, signal))
        return alpha * off, off
    on = np.asarray(getattr(npred_background, "data", npred_background), dtype=float).reshape(-1)
    if on.shape != signal.shape:
        raise DataError(
            f"Dataset {measurement.name!r}: npred_background must have {len(signal)} bins, found {len(on)}"
        )
    if np.any(measurement.mask & (on > 0) & (alpha <= 0)):
        raise DataError(
            f"Dataset {measurement.name!r}: there is background in bins without on or off acceptance"
        )
    return on, np.divide(on, alpha, out=np.zeros_like(on), where=alpha > 0)


def _checked(measurement: Measurement, key: str, mu: Array) -> Array:
    """Check expected counts in the fit range; outside of it what isn't possible becomes 0."""
    # Convolutions leave traces of rounding on both sides of 0.
    possible = np.isfinite(mu) & (mu >= -1e-12 * np.nanmax(mu, initial=0.0))
    bad = measurement.mask & ~possible
    if np.any(bad):
        bins = ", ".join(map(str, np.flatnonzero(bad)[:5]))
        raise DataError(
            f"Dataset {measurement.name!r}: expected {key} must be finite and not negative, "
            f"found {mu[bad][0]:g} (bins {bins})"
        )
    return np.where(possible, np.maximum(mu, 0.0), 0.0)


def _check_no_limits(measurement: Measurement) -> None:
    limits = measurement.mask & (np.asarray(measurement.data.get("is_ul", 0)) != 0)
    if np.any(limits):
        raise DataError(
            f"Dataset {measurement.name!r}: {np.sum(limits)} flux points are upper limits, of which no "
            "measured value can be simulated. Leave them out by mask_fit"
        )
