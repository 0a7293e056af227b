"""What estimators of maps need of datasets: counts, background, mask and exposure as plain cubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps import MapAxis, WcsGeom

__all__ = ["EnergyGroups", "MapData", "as_datasets", "exposure_on_pixels", "joined_gti"]

Array = NDArray[np.float64]


def as_datasets(datasets: Any, where: str) -> list[Any]:
    """Return datasets as a list, and check that they are cubes of the same pixels.

    Raises
    ------
    DataError
        If there are none, one isn't a cube of counts, or their pixels differ.
    """
    items = [datasets] if hasattr(datasets, "measurement") else list(datasets)
    if not items:
        raise DataError(f"{where}: expected at least one dataset")
    for dataset in items:
        counts: Any = getattr(dataset, "counts", None)
        if not isinstance(getattr(counts, "geom", None), WcsGeom):
            raise DataError(
                f"{where}: expected a MapDataset with counts, found {type(dataset).__name__} "
                f"{getattr(dataset, 'name', '')!r}"
            )
        first = items[0].counts.geom.to_image()
        if counts.geom.to_image() != first:
            raise DataError(
                f"{where}: dataset {dataset.name!r} has other pixels than {items[0].name!r}: "
                f"{counts.geom!r}, expected {first!r}"
            )
    return items


@dataclass(frozen=True)
class EnergyGroups:
    """Bins of energy of the result, and which bins of a dataset make each of them.

    Parameters
    ----------
    axis : `~villard.maps.MapAxis`
        Bins of the result.
    slices : list of list of slice
        For each dataset and bin of the result the bins of the dataset.
    """

    axis: MapAxis
    slices: list[list[slice]]

    @classmethod
    def make(cls, datasets: Sequence[Any], edges: u.Quantity | None, where: str) -> EnergyGroups:
        """Group bins; edges are moved to the nearest ones of the data, by default there is one group.

        Raises
        ------
        DataError
            If no bin lies between the edges, or the edges of several datasets don't agree.
        """
        axes = [dataset.counts.geom.axes["energy"] for dataset in datasets]
        if edges is None:
            bounds = [axis.edges[[0, -1]].to(axes[0].unit).value for axis in axes]
            low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
            axis = MapAxis.from_energy_edges([low, high] * axes[0].unit)
            return cls(axis, [[slice(0, item.nbin)] for item in axes])
        indices = [axis.group_edges(edges) for axis in axes]
        found = [axis.edges[index].to(edges.unit) for axis, index in zip(axes, indices, strict=True)]
        for dataset, item in zip(datasets, found, strict=True):
            if len(item) != len(found[0]) or not np.allclose(item.value, found[0].value, rtol=1e-3):
                raise DataError(
                    f"{where}: the energy bins of dataset {dataset.name!r} give the edges {item}, those of "
                    f"{datasets[0].name!r} {found[0]}. Choose energy_edges that all datasets have"
                )
        slices = [[slice(int(a), int(b)) for a, b in pairwise(index)] for index in indices]
        return cls(MapAxis.from_energy_edges(found[0]), slices)

    @property
    def n(self) -> int:
        """Number of bins of the result."""
        return self.axis.nbin


class MapData:
    """Cubes of one dataset, of the shape (n_energy, n_lat, n_lon).

    Parameters
    ----------
    dataset : `~villard.datasets.MapDataset`
        Dataset.
    where : str
        Who asks, for messages.
    """

    def __init__(self, dataset: Any, where: str) -> None:
        self.dataset = dataset
        self.name = str(dataset.name)
        self.where = where
        self.geom: WcsGeom = dataset.counts.geom
        # It checks that everything that enters a fit is there, and not NaN.
        self.measurement = dataset.measurement()
        self.shape = self.geom.data_shape
        self.mask: NDArray[np.bool_] = self.measurement.mask.reshape(self.shape)

    def cube(self, name: str) -> Array:
        """Return one of the data ("counts", "counts_off", …), 0 outside the mask."""
        return np.where(self.mask, self.measurement.data[name].reshape(self.shape), 0.0)

    @cached_property
    def weights(self) -> Array:
        """Weights of the bins in the likelihood, 1 where the dataset has none, 0 outside the mask."""
        weights = getattr(self.dataset, "weights", None)
        return np.where(self.mask, 1.0 if weights is None else np.asarray(weights.data, dtype=float), 0.0)

    @cached_property
    def npred(self) -> Array:
        """Predicted counts of all models and the background, 0 outside the mask."""
        return self._checked(self.dataset.npred().data, "npred")

    @cached_property
    def npred_signal(self) -> Array:
        """Predicted counts of all models, 0 outside the mask."""
        return self._checked(self.dataset.npred_signal().data, "npred_signal")

    def _checked(self, values: Array, name: str) -> Array:
        inside = np.where(self.mask, values, 0.0)
        if not np.all(inside >= 0):
            bad = inside[~(inside >= 0)]
            raise DataError(
                f"{self.where}, dataset {self.name!r}: {name} is negative or NaN in {len(bad)} bins of the "
                f"fit, for instance {bad[0]}"
            )
        return inside

    @cached_property
    def exposure(self) -> Array:
        """Exposure at the pixels (cm² s), shape (n_energy_true, n_lat, n_lon).

        Raises
        ------
        DataError
            If there is none.
        """
        if self.dataset.exposure is None:
            raise DataError(f"{self.where}, dataset {self.name!r}: an exposure is needed, but not set")
        return exposure_on_pixels(self.dataset.exposure, self.geom)

    def npred_reference(self, model: Any) -> Array:
        """Return the counts of a point source at each pixel, all of which stay in it: no PSF is applied.

        The energy dispersion is that of the middle of the map.

        Parameters
        ----------
        model : `~villard.modeling.models.SkyModel`
            Model, of which only the spectrum matters.

        Returns
        -------
        array
            Shape (n_energy, n_lat, n_lon).
        """
        from villard.likelihood.predict import bin_flux

        low, high, order = self.measurement.true_energies(False)
        pure = model.spectral_model.pure()
        values = np.array([p.engine_value for p in model.spectral_model.parameters])
        flux = np.broadcast_to(bin_flux(pure, low, high, values, pure.arrays, order), low.shape)
        return np.tensordot((flux[:, np.newaxis] * self.edisp_matrix()).T, self.exposure, axes=1)

    def edisp_matrix(self) -> Array:
        """Return the energy dispersion in the middle of the map, shape (n_energy_true, n_energy)."""
        from villard.irf import EDispKernel

        axis, edisp = self.geom.axes["energy"], self.dataset.edisp
        if edisp is None:
            edisp = EDispKernel.from_diagonal_response(self.measurement.energy_true, axis)
        elif hasattr(edisp, "get_edisp_kernel"):
            edisp = edisp.get_edisp_kernel(energy_axis=axis, position=self.geom.center_skydir)
        return np.asarray(edisp.pdf_matrix, dtype=float)


def exposure_on_pixels(exposure: Any, geom: WcsGeom) -> Array:
    """Return the exposure at the centres of pixels (cm² s), constant beyond its outermost pixels.

    Parameters
    ----------
    exposure : `~villard.maps.WcsNDMap`
        Exposure along the axis "energy_true".
    geom : `~villard.maps.WcsGeom`
        Geometry of which only the sky counts.

    Returns
    -------
    array
        Shape (n_energy_true, n_lat, n_lon).
    """
    from scipy import ndimage

    cube = np.asarray(exposure.quantity.to_value("cm2 s"), dtype=float)
    if exposure.geom.to_image() == geom.to_image():
        return cube
    x, y = exposure.geom.skydir_to_pix(geom.to_image().skydirs())
    # Where the projection of the counts has no sky nothing is counted.
    pixels = np.stack([np.nan_to_num(y, nan=-1.0), np.nan_to_num(x, nan=-1.0)])
    return np.stack([ndimage.map_coordinates(image, pixels, order=1, mode="nearest") for image in cube])


def joined_gti(datasets: Sequence[Any]) -> Any:
    """Return the good time intervals of all datasets, or `None` if one has none."""
    intervals = [getattr(dataset, "gti", None) for dataset in datasets]
    if any(gti is None for gti in intervals):
        return None
    joined: Any = intervals[0]
    for gti in intervals[1:]:
        joined = joined.stack(gti)
    return joined
