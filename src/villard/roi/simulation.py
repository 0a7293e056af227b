"""Simulated counts in the place of the data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, DataError

__all__ = ["Simulation", "simulate_counts"]

Array = NDArray[np.float64]


class Simulation:
    """Simulations of a `villard.roi.ROI`."""

    _observed: list[Any] | None = None
    _random: np.random.Generator | None = None

    def simulate_roi(
        self, name: Any = None, randomize: bool = True, restore: bool = False, seed: Any = None
    ) -> None:
        """Replace the counts by simulated ones; the models stay as they are.

        Parameters
        ----------
        name : str or list of str, optional
            Only these sources, without anything else; by default all of the region, with its background.
        randomize : bool
            Whether counts are drawn at random; otherwise they are the expected ones, which aren't whole.
        restore : bool
            Put the observed counts back instead.
        seed : int or `numpy.random.Generator`, optional
            Seed. By default that of the section ``mc`` of the configuration for the first simulation of a
            region, from where later ones go on; without it each one is another.
        """
        if restore:
            self.restore_counts()
            return
        names = None if name is None else [name] if isinstance(name, str) else list(name)
        models = None if names is None else [self[n].model for n in names]  # type: ignore[index]
        self._keep_counts()
        rng = self._generator(seed)
        for dataset in self.datasets:  # type: ignore[attr-defined]
            _set_counts(dataset, simulate_counts(dataset, models, rng if randomize else None))

    def simulate_source(self, src_dict: Any = None, randomize: bool = True, seed: Any = None) -> None:
        """Add simulated counts of one more source to the counts, whether observed or simulated.

        Parameters
        ----------
        src_dict : dict, `~villard.modeling.models.SkyModel` or str, optional
            Source, as for `add_source`, or the name of one of the region. By default a point source at the
            centre with the index 2 and 1e-13 cm-2 s-1 MeV-1 at 1 GeV.
        randomize, seed
            As for `simulate_roi`, which also puts the counts back.
        """
        model = self._simulated_source(src_dict)
        self._keep_counts()
        rng = self._generator(seed)
        for dataset in self.datasets:  # type: ignore[attr-defined]
            if model.contributes_to(dataset.name):
                added = simulate_counts(dataset, [model], rng if randomize else None)
                _set_counts(dataset, np.asarray(dataset.counts.data, dtype=float) + added)

    def restore_counts(self) -> None:
        """Put the observed counts back.

        Raises
        ------
        DataError
            If they are there already, because nothing was simulated.
        """
        if self._observed is None:
            raise DataError("ROI: the counts are those observed; nothing was simulated")
        for dataset, counts in zip(self.datasets, self._observed, strict=True):  # type: ignore[attr-defined]
            dataset.counts = counts
        self._observed = None

    @property
    def is_simulated(self) -> bool:
        """Whether the counts are simulated."""
        return self._observed is not None

    def _keep_counts(self) -> None:
        if self._observed is None:
            self._observed = [dataset.counts for dataset in self.datasets]  # type: ignore[attr-defined]

    def _generator(self, seed: Any) -> np.random.Generator:
        if isinstance(seed, np.random.Generator):
            return seed
        if seed is not None:
            if not isinstance(seed, int | np.integer) or seed < 0:
                raise ConfigError(f"simulate: expected a whole number from 0 on as seed, found {seed!r}")
            return np.random.default_rng(int(seed))
        if self._random is None:
            mc = getattr(getattr(self, "config", None), "mc", None)
            self._random = np.random.default_rng(getattr(mc, "seed", None))
        return self._random

    def _simulated_source(self, src_dict: Any) -> Any:
        from villard.modeling.models import SkyModel
        from villard.modeling.models.gtlike import model_from_dict

        if isinstance(src_dict, SkyModel):
            return src_dict
        if isinstance(src_dict, str):
            return self[src_dict].model  # type: ignore[index]
        center = self.skydir.icrs  # type: ignore[attr-defined]
        default = {"Index": 2.0, "Prefactor": 1e-13, "Scale": 1000.0, "SpatialModel": "PointSource"}
        given = dict(src_dict or {})
        if not isinstance(src_dict, Mapping | None):
            raise ConfigError(f"simulate_source: expected a dictionary or model, found {src_dict!r}")
        if given.get("SpectrumType", "PowerLaw") != "PowerLaw":
            default = {"SpatialModel": "PointSource"}
        if not {"ra", "dec", "glon", "glat", "RAJ2000", "DEJ2000"} & set(given):
            default |= {"ra": float(center.ra.deg), "dec": float(center.dec.deg)}
        return model_from_dict({"name": "simulated", **default, **given})


def simulate_counts(dataset: Any, models: Any, rng: np.random.Generator | None) -> Array:
    """Return the counts that models predict in a dataset, drawn at random if there is a generator.

    Parameters
    ----------
    dataset : `~villard.datasets.MapDataset`
        Dataset.
    models : list of models or None
        Models that are simulated; all of the dataset and its background if `None`.
    rng : `numpy.random.Generator`, optional
        Source of random numbers.

    Returns
    -------
    array
        Counts in the shape of the cube.
    """
    if models is None:
        expected = np.asarray(dataset.npred().data, dtype=float)
    else:
        measurement = dataset._response_measurement()
        own = [model for model in models if model.contributes_to(dataset.name)]
        total = sum((measurement.predict(model) for model in own), np.zeros(measurement.n_bins))
        expected = np.asarray(total, dtype=float).reshape(dataset.counts.data.shape)
    lowest = float(expected.min())
    if not lowest >= -1e-9 * max(float(expected.max()), 1.0):
        raise DataError(f"Dataset {dataset.name!r}: expected predicted counts from 0 on, found {lowest:g}")
    # Convolutions leave traces of rounding on both sides of 0.
    expected = np.maximum(expected, 0.0)
    return expected if rng is None else rng.poisson(expected).astype(float)


def _set_counts(dataset: Any, data: Array) -> None:
    dataset.counts = dataset.counts.copy(data=data)
