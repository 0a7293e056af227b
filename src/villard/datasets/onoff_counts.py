"""What datasets with off counts have in common, spectra and cubes alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.datasets.core import get_random_state
from villard.datasets.plot import poisson_interval
from villard.datasets.slots import CountsMap
from villard.exceptions import DataError, ModelError
from villard.likelihood.predict import stat_array
from villard.likelihood.statistics import get_wstat_mu_bkg
from villard.maps import Map

__all__ = ["OnOffCounts", "ratio"]

Array = NDArray[np.float64]


class OnOffCounts:
    """Methods of datasets of counts whose background is measured by off counts.

    It stands before a subclass of `~villard.datasets.counts.CountsDataset`.
    """

    counts_off = CountsMap("energy", "Counts of the off region along the axis `energy`.")
    acceptance = CountsMap("energy", "Relative acceptance of the on region for background.")
    acceptance_off = CountsMap("energy", "Relative acceptance of the off region for background.")

    def _set_off(self: Any, counts_off: Any, acceptance: Any, acceptance_off: Any) -> None:
        self.counts_off = counts_off
        self.acceptance = self._acceptance_map(acceptance)
        self.acceptance_off = self._acceptance_map(acceptance_off)

    def _acceptance_map(self: Any, value: Any) -> Any:
        """Make a map of a number, one number per energy, or an array."""
        if value is None or isinstance(value, Map):
            return value
        values = np.asarray(value, dtype=float)
        if values.ndim == 1:
            values = values.reshape((-1,) + (1,) * (len(self.data_shape) - 1))
        return self._as_map(np.broadcast_to(values, self.data_shape))

    # Content

    @property
    def alpha(self: Any) -> Any:
        """Acceptance over off acceptance; 0 where both are 0, infinite where there is no off region."""
        return self._as_map(self._alpha_array())

    def _alpha_array(self: Any) -> Array:
        on, off = self._plain("acceptance"), self._plain("acceptance_off")
        return np.divide(on, off, out=np.where(on > 0, np.inf, 0.0), where=off > 0)

    @property
    def background(self: Any) -> Any:
        """Off counts scaled to the on region, α times `counts_off`; it can't be set."""
        return None if self.counts_off is None else self._as_map(self._background_of_off())

    @background.setter
    def background(self: Any, background: Any) -> None:
        raise DataError(f"Dataset {self.name!r}: the background of an on/off dataset follows from counts_off")

    @property
    def counts_off_normalised(self: Any) -> Any:
        """The same as `background`."""
        return self.background

    def _background_of_off(self: Any) -> Array:
        off, alpha = self._plain("counts_off"), self._alpha_array()
        # Without off region and off counts the product isn't defined, but there is nothing to scale.
        return np.where(off > 0, np.where(off > 0, alpha, 0.0) * off, 0.0)

    # Likelihood

    def _data_arrays(self: Any) -> dict[str, Array]:
        self._require("counts", "counts_off", "acceptance", "acceptance_off")
        if self.background_model is not None:
            raise ModelError(
                f"Dataset {self.name!r} measures its background by off counts, which the model "
                f"{self.background_model.name!r} can't scale"
            )
        return {
            "counts": self._plain("counts"),
            "counts_off": self._plain("counts_off"),
            "alpha": self._alpha_array(),
        }

    def _background_array(self: Any) -> Array | None:
        return None

    def _stat(self: Any, measurement: Any) -> Array:
        with np.errstate(invalid="ignore"):
            return stat_array(measurement, self._signal(measurement))

    def npred_background(self: Any) -> Any:
        """Return the most likely background counts of the on region, for the models' signal.

        In each bin they maximise the likelihood of the on and off counts (see
        `~villard.likelihood.statistics.get_wstat_mu_bkg`).
        """
        return self._as_map(self._mu_bkg() * self._alpha_array())

    def npred_off(self: Any) -> Any:
        """Return the most likely counts of the off region, for the models' signal."""
        return self._as_map(self._mu_bkg())

    def _mu_bkg(self: Any) -> Array:
        data = self._data_arrays()
        signal = self._signal(self._response_measurement())
        with np.errstate(invalid="ignore"):
            return np.asarray(get_wstat_mu_bkg(data["counts"], data["counts_off"], data["alpha"], signal))

    def fake(self: Any, npred_background: Any, random_state: Any = "random-seed") -> None:
        """Replace the counts by random ones.

        Parameters
        ----------
        npred_background : `~villard.maps.Map`
            Expected background counts of the on region; those of the off region are 1/α times these.
        random_state : int, generator or "random-seed"
            See `~villard.datasets.core.get_random_state`.
        """
        rng = get_random_state(random_state)
        background = np.asarray(npred_background.data, dtype=float).reshape(-1)
        alpha = self._alpha_array()
        if np.any((background > 0) & ~((alpha > 0) & np.isfinite(alpha))):
            raise DataError(
                f"Dataset {self.name!r}: there is background in bins without on or off acceptance"
            )
        expected = np.divide(background, alpha, out=np.zeros_like(background), where=background > 0)
        signal = self.npred_signal().data.reshape(-1)
        self.counts = self._as_map(rng.poisson(self._means(signal + background)).astype(float))
        self.counts_off = self._as_map(rng.poisson(expected).astype(float))

    # Rebinning and stacking

    def _regrouped(
        self: Any, total: Callable[[Array], Array], anywhere: Callable[[Any], Any]
    ) -> dict[str, NDArray[Any]]:
        arrays = super()._regrouped(total, anywhere)  # type: ignore[misc]
        if "acceptance_off" in arrays and "counts_off" in arrays:
            scaled = self._background_of_off().reshape(self.data_shape)
            background = total(np.where(self._safe_array(), scaled, 0.0))
            off, acceptance = arrays["counts_off"], arrays["acceptance"]
            alpha = ratio(background, off, default=ratio(acceptance, arrays["acceptance_off"]))
            arrays["acceptance_off"] = ratio(acceptance, alpha, default=arrays["acceptance_off"])
        return arrays

    def _stack_maps(self: Any, other: Any) -> None:
        """Add up maps so that the scaled off counts of the stack are the sum of those of the datasets.

        The off acceptance of the stack is its acceptance over α = Σ αᵢ nᵢ / Σ nᵢ, nᵢ the off counts.
        In bins without off counts, α is that of all bins together, as in Gammapy; if no bin has any,
        the ratio of the summed acceptances.
        """
        if self.counts_off is None:
            super()._stack_maps(other)  # type: ignore[misc]
            return
        scaled = self._as_map(self._background_of_off())
        scaled.stack(other._as_map(other._background_of_off()), nan_to_num=False)
        background = scaled.data.reshape(-1)
        super()._stack_maps(other)  # type: ignore[misc]
        off, acceptance = self._plain("counts_off"), self._plain("acceptance")
        acceptance_off = self._plain("acceptance_off")
        total = ratio(np.sum(background), np.sum(off), default=ratio(acceptance, acceptance_off))
        alpha = ratio(background, off, default=total)
        self.acceptance_off = self._as_map(ratio(acceptance, alpha, default=acceptance_off))

    # Plots

    def _background_errors(self: Any) -> list[Array]:
        low, high = poisson_interval(self.counts_off.data.reshape(-1))
        alpha, off = self._alpha_array(), self.counts_off.data.reshape(-1)
        alpha = np.where(np.isfinite(alpha), alpha, 0.0)
        return [alpha * (off - low), alpha * (high - off)]

    def _excess_errors(self: Any) -> list[Array]:
        # Upwards fluctuations of the background lower the excess.
        on, off = self._counts_errors(), self._background_errors()
        return [np.hypot(on[0], off[1]), np.hypot(on[1], off[0])]

    # Other datasets

    @classmethod
    def _with_off(
        cls: Any, dataset: Any, acceptance: Any, acceptance_off: Any, counts_off: Any, name: str | None
    ) -> Any:
        """Make an on/off dataset of one with a background, which by default gives the off counts."""
        parts = dataset._parts()
        background = parts.pop("background", None)
        if parts.pop("weights", None) is not None:
            raise DataError(f"Dataset {dataset.name!r}: bins with a measured background can't have weights")
        parts.pop("stat_type")
        name = dataset.name if name is None else name
        new = cls(**parts, acceptance=acceptance, acceptance_off=acceptance_off, name=name)
        if counts_off is None and background is not None:
            inverse = ratio(new._plain("acceptance_off"), new._plain("acceptance"))
            counts_off = new._as_map(background.data.reshape(-1) * inverse)
        new.counts_off = counts_off
        new.models = dataset.models
        return new

    def _without_off(self: Any, cls: Any, name: str | None) -> Any:
        """Return a dataset of a class whose background is the scaled off counts."""
        parts = self._parts()
        for key in ("counts_off", "acceptance", "acceptance_off", "stat_type"):
            parts.pop(key)
        return cls(**parts, background=self.background, name=name)


def ratio(a: Any, b: Any, default: Any = 0.0) -> Array:
    """Return a / b, and ``default`` where b is 0."""
    a, b, default = np.broadcast_arrays(
        np.asarray(a, float), np.asarray(b, float), np.asarray(default, float)
    )
    return np.divide(a, b, out=default.copy(), where=b > 0)
