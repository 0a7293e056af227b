"""Weights of energies when responses are averaged over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.maps.axis import MapAxis

__all__ = ["spectrum_weights"]


def spectrum_weights(axis: MapAxis, spectral_model: Any = None) -> NDArray[np.float64]:
    """Return the share of photons of each bin of energy.

    Parameters
    ----------
    axis : `~villard.maps.MapAxis`
        Energies.
    spectral_model : object with a method ``integral(energy_min, energy_max)``, optional
        Spectrum; a power law with the index 2 by default.

    Returns
    -------
    `~numpy.ndarray`
        Shares that add up to 1, shape (nbin,).

    Examples
    --------
    >>> spectrum_weights(MapAxis.from_energy_edges([1, 2, 4], unit="TeV")).round(4)
    array([0.6667, 0.3333])
    """
    edges = axis.edges
    if spectral_model is None:
        values = 1 / edges.value[:-1] - 1 / edges.value[1:]
    else:
        values = np.asarray(spectral_model.integral(edges[:-1], edges[1:]).value, dtype=float)
    return np.asarray(values / values.sum())
