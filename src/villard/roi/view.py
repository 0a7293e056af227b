"""A region with some sources left out or some energies only, for the time of a computation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.maps import WcsNDMap

__all__ = ["excluded", "free_only", "names_of"]


@contextmanager
def excluded(
    roi: Any, names: Iterable[str] = (), energies: list[NDArray[np.bool_]] | None = None
) -> Iterator[Any]:
    """Take sources away, and limit the energies of the fit; everything is put back at the end.

    The datasets stay the same objects, so that what they keep of their sources is used.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    names : list of str
        Sources to leave out.
    energies : list of array of bool, optional
        For each dataset which bins of energy enter the fit.

    Yields
    ------
    `~villard.datasets.Datasets`
        Datasets of the region.
    """
    away = {id(roi[name].model) for name in names_of(names)}
    # Those of the datasets: within a computation they may stand for others.
    models = roi.datasets.models
    masks = [dataset.mask_fit for dataset in roi.datasets]
    try:
        if away:
            roi.datasets.models = [model for model in models if id(model) not in away]
        if energies is not None:
            for dataset, bins in zip(roi.datasets, energies, strict=True):
                data = np.broadcast_to(bins[:, np.newaxis, np.newaxis], dataset.geom.data_shape).copy()
                own = WcsNDMap(dataset.geom, data=data)
                dataset.mask_fit = own if dataset.mask_fit is None else own & dataset.mask_fit
        yield roi.datasets
    finally:
        if away:
            roi.datasets.models = models
        if energies is not None:
            for dataset, mask in zip(roi.datasets, masks, strict=True):
                dataset.mask_fit = mask


def names_of(names: str | Iterable[str] | None) -> list[str]:
    """Return names as a list; `None` is none.

    Examples
    --------
    >>> names_of("3FHL J1745.6-2900"), names_of(None)
    (['3FHL J1745.6-2900'], [])
    """
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


@contextmanager
def free_only(roi: Any, parameters: Iterable[Any]) -> Iterator[None]:
    """Free some parameters and freeze all others; at the end each is as before.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    parameters : list of `~villard.modeling.Parameter`
        What is to be free.
    """
    chosen = {id(p) for p in parameters}
    before = [(p, p.frozen) for p in roi.parameters]
    try:
        for p, _ in before:
            p.frozen = id(p) not in chosen
        yield
    finally:
        for p, frozen in before:
            p.frozen = frozen
