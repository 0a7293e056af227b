"""Maps of the excess of counts around each pixel, and of its significance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.estimators.flux_maps import FluxMaps
from villard.estimators.map_data import EnergyGroups, MapData, as_datasets, joined_gti
from villard.estimators.settings import energy_edges_or_none, positive, positive_angle, selection
from villard.exceptions import ConfigError, DataError
from villard.maps import WcsNDMap

__all__ = ["ExcessMapEstimator"]

Array = NDArray[np.float64]
_OPTIONAL = ("errn-errp", "ul")


class ExcessMapEstimator:
    """Count in a disk around each pixel, and compare with the background.

    The significance is that of Li & Ma (1983, ApJ 272, 317, eq. 17) where the background is measured
    (`~villard.datasets.MapDatasetOnOff`), and that of Cash (1979, ApJ 228, 939) where it is known; the
    background is what the dataset predicts, with all its models.

    Parameters
    ----------
    correlation_radius : `~astropy.units.Quantity` or float
        Radius of the disk; numbers are in deg. Pixels with their centre in the disk are in it.
    n_sigma : float
        Number of standard deviations of errors.
    n_sigma_ul : float
        Number of standard deviations of upper limits.
    selection_optional : "all" or list of {"errn-errp", "ul"}, optional
        What to compute beside excess, symmetric error and significance.
    energy_edges : `~astropy.units.Quantity`, optional
        Edges of the energy bins of the maps, moved to the nearest edges of the data; one bin by default.
    correlate_off : bool
        Whether off counts are added up in the disk. They must not be where each pixel's off counts are
        already those of a ring or another region around it, which would count events several times.
    spectral_model : spectral model, optional
        Spectrum that excess is turned into flux with; a power law of index 2 by default.
    sum_over_energy_groups : bool
        Kept for Gammapy scripts: counts of a group of energy bins are added up in any case.

    Notes
    -----
    The counts of all pixels of a disk that are in the mask are added up. The flux is the excess over the
    mean exposure of these pixels: it is the flux within the disk, not corrected for what the PSF scatters
    out of it. Without a pixel of the mask in the disk results are NaN, as they are at pixels which are
    themselves masked at all energies.

    Raises
    ------
    ConfigError
        If a setting isn't known or possible.

    Examples
    --------
    >>> from villard.datasets import MapDataset
    >>> from villard.maps import MapAxis, WcsGeom
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    >>> geom = WcsGeom.create(npix=11, binsz=0.1, axes=[axis])
    >>> counts = WcsNDMap(geom, data=np.full(geom.data_shape, 2.0))
    >>> counts.data[0, 5, 5] = 12
    >>> background = WcsNDMap(geom, data=np.full(geom.data_shape, 2.0))
    >>> dataset = MapDataset(counts=counts, background=background, name="toy")
    >>> maps = ExcessMapEstimator("0.1 deg").run(dataset)
    >>> maps.npred_excess.data[0, 5, 4:8], maps.sqrt_ts.data[0, 5, 4:8].round(3)
    (array([10., 10., 10.,  0.]), array([2.78, 2.78, 2.78, 0.  ]))
    """

    tag = "ExcessMapEstimator"

    def __init__(
        self,
        correlation_radius: Any = "0.1 deg",
        n_sigma: float = 1,
        n_sigma_ul: float = 2,
        selection_optional: Any = None,
        energy_edges: Any = None,
        correlate_off: bool = True,
        spectral_model: Any = None,
        sum_over_energy_groups: bool = True,
    ) -> None:
        self.correlation_radius = positive_angle(correlation_radius, "correlation_radius", self.tag)
        self.n_sigma = positive(n_sigma, "n_sigma", self.tag)
        self.n_sigma_ul = positive(n_sigma_ul, "n_sigma_ul", self.tag)
        self.selection_optional = list(selection(selection_optional, _OPTIONAL, self.tag))
        self.energy_edges = energy_edges_or_none(energy_edges, self.tag)
        self.correlate_off = bool(correlate_off)
        if not sum_over_energy_groups:
            raise ConfigError(
                f"{self.tag}: counts of a group of energies are always added up; choose energy_edges"
            )
        self.spectral_model = spectral_model

    def run(self, datasets: Any) -> FluxMaps:
        """Make the maps.

        Parameters
        ----------
        datasets : dataset, list of datasets or `~villard.datasets.Datasets`
            Cubes of counts in the same pixels. Those of several datasets are added up.

        Returns
        -------
        `FluxMaps`
            ``counts``; ``npred_background``, the background and the signal of the models;
            ``npred_excess``, what there is above; ``npred``, their sum; ``ts``, ``sqrt_ts``, and if there
            is an exposure ``norm`` and its errors. For measured backgrounds also ``acceptance_on``,
            ``acceptance_off`` and ``alpha``.

        Raises
        ------
        DataError
            If pixels or energies don't fit, a part of a dataset is missing, or only some of the
            datasets have a measured background.
        """
        items = as_datasets(datasets, self.tag)
        kinds = {dataset.stat_type == "wstat" for dataset in items}
        if len(kinds) > 1:
            raise DataError(
                f"{self.tag}: some datasets have off counts and some have not: "
                f"{', '.join(d.name for d in items)}"
            )
        groups = EnergyGroups.make(items, self.energy_edges, self.tag)
        inputs = [MapData(dataset, self.tag) for dataset in items]
        has_flux = all(dataset.exposure is not None for dataset in items)
        reference = self._reference()
        disk = _Disk.make(items[0].counts.geom, self.correlation_radius)
        layers = [_Layer.make(inputs, groups, i, reference if has_flux else None) for i in range(groups.n)]
        results = [self._image(layer, disk, kinds == {True}) for layer in layers]
        geom = items[0].counts.geom.to_image().to_cube([groups.axis])
        maps = {name: WcsNDMap(geom, data=np.stack([r[name] for r in results])) for name in results[0]}
        meta = {"n_sigma": self.n_sigma, "n_sigma_ul": self.n_sigma_ul}
        return FluxMaps(maps, reference, meta, joined_gti(items))

    def _reference(self) -> Any:
        from villard.modeling.models import PowerLawSpectralModel, SkyModel

        spectrum = PowerLawSpectralModel(index=2) if self.spectral_model is None else self.spectral_model
        return SkyModel(spectral_model=spectrum, name="reference")

    def _image(self, layer: _Layer, disk: _Disk, measured: bool) -> dict[str, Array]:
        """Return the results of one energy bin."""
        from villard.stats import CashCountsStatistic, WStatCountsStatistic

        n_pixels = disk.sum(layer.mask)
        known = layer.mask & (n_pixels > 0.5)
        n_on, signal = disk.sum(layer.counts), disk.sum(layer.signal)
        extra: dict[str, Array] = {}
        if measured:
            acceptance = disk.sum(layer.acceptance)
            background = disk.sum(layer.background)
            n_off = disk.sum(layer.counts_off) if self.correlate_off else layer.counts_off
            # Without off counts the ratio of the acceptances has to do.
            plain = disk.sum(layer.acceptance_off) if self.correlate_off else layer.acceptance_off
            alpha = _ratio(background, n_off, _ratio(acceptance, plain, np.zeros_like(plain)))
            if not self.correlate_off:
                alpha = _ratio(acceptance, layer.acceptance_off, np.zeros_like(acceptance))
            extra = {
                "acceptance_on": acceptance,
                "acceptance_off": _ratio(acceptance, alpha, np.zeros_like(alpha)),
                "alpha": alpha,
            }
            statistic: Any = WStatCountsStatistic(n_on, n_off, alpha, signal)
        else:
            statistic = CashCountsStatistic(n_on, disk.sum(layer.background) + signal)
        result = {
            "counts": n_on,
            "npred": n_on,
            "npred_background": statistic.n_bkg + (signal if measured else 0.0),
            "npred_excess": statistic.n_sig,
            "ts": statistic.ts,
            "sqrt_ts": statistic.sqrt_ts,
        } | extra
        if layer.reference is not None:
            unit = _ratio(disk.sum(layer.reference), n_pixels, np.full(n_on.shape, np.nan))
            result |= self._norms(statistic[known], statistic, np.where(unit > 0, unit, np.nan), known)
        return {name: np.where(known, values, np.nan) for name, values in result.items()}

    def _norms(self, inside: Any, statistic: Any, unit: Array, known: NDArray[np.bool_]) -> dict[str, Array]:
        """Return the excess and its errors in units of the counts that the reference predicts."""

        def spread(values: Array) -> Array:
            result = np.full(known.shape, np.nan)
            result[known] = values
            return result / unit

        norms = {"norm": statistic.n_sig / unit, "norm_err": self.n_sigma * statistic.error / unit}
        if "errn-errp" in self.selection_optional:
            norms["norm_errn"] = spread(inside.compute_errn(self.n_sigma))
            norms["norm_errp"] = spread(inside.compute_errp(self.n_sigma))
        if "ul" in self.selection_optional:
            norms["norm_ul"] = spread(inside.compute_upper_limit(self.n_sigma_ul))
        return norms

    def __str__(self) -> str:
        names = ("correlation_radius", "n_sigma", "n_sigma_ul", "selection_optional", "energy_edges")
        rows = "".join(f"\n  {name:18s}: {getattr(self, name)}" for name in names)
        return f"{self.tag}\n{rows}\n"


@dataclass(frozen=True)
class _Layer:
    """Images of one energy bin of the result, 0 outside the mask."""

    mask: NDArray[np.bool_]
    counts: Array
    background: Array
    signal: Array
    counts_off: Array
    acceptance: Array
    acceptance_off: Array
    reference: Array | None

    @classmethod
    def make(cls, inputs: list[MapData], groups: EnergyGroups, i: int, reference: Any) -> _Layer:
        """Add up the bins of all datasets that make one bin of the result."""
        shape = inputs[0].shape[1:]
        sums = {name: np.zeros(shape) for name in cls.__dataclass_fields__ if name != "mask"}
        mask = np.zeros(shape, dtype=bool)
        for data, slices in zip(inputs, groups.slices, strict=True):
            bins = slices[i]
            inside = data.mask[bins]
            mask |= inside.any(axis=0)
            sums["counts"] += data.cube("counts")[bins].sum(axis=0)
            sums["signal"] += data.npred_signal[bins].sum(axis=0)
            if "counts_off" in data.measurement.data:
                off, alpha = data.cube("counts_off")[bins], data.cube("alpha")[bins]
                acceptance = np.where(inside, data.dataset.acceptance.data[bins], 0.0)
                acceptance_off = np.where(inside, data.dataset.acceptance_off.data[bins], 0.0)
                sums["counts_off"] += off.sum(axis=0)
                sums["background"] += (alpha * off).sum(axis=0)
                sums["acceptance"] += acceptance.sum(axis=0)
                sums["acceptance_off"] += acceptance_off.sum(axis=0)
            else:
                sums["background"] += (data.npred - data.npred_signal)[bins].sum(axis=0)
            if reference is not None:
                sums["reference"] += np.where(inside, data.npred_reference(reference)[bins], 0.0).sum(axis=0)
        if reference is None:
            sums["reference"] = None  # type: ignore[assignment]
        return cls(mask=mask, **sums)


def _ratio(numerator: Array, denominator: Array, otherwise: Array) -> Array:
    some = denominator > 0
    return np.where(some, numerator / np.where(some, denominator, 1.0), otherwise)


@dataclass(frozen=True)
class _Disk:
    """Pixels with their centre in an ellipse around the middle one: half widths of its rows."""

    half_widths: NDArray[np.intp]

    @classmethod
    def make(cls, geom: Any, radius: Any) -> _Disk:
        width, height = (radius / geom.pixel_scales).to_value("")
        # A pixel that is reached but for rounding is in the disk.
        rows = np.arange(int(np.floor(height * (1 + 1e-9))) + 1)
        inside = np.sqrt(np.maximum(1 + 1e-9 - (rows / height) ** 2, 0.0))
        return cls(np.floor(width * inside * (1 + 1e-9)).astype(np.intp))

    def sum(self, image: NDArray[Any]) -> Array:
        """Add up the pixels around each pixel.

        Rows are summed by differences of cumulative sums, which is exact for counts.
        """
        values = np.asarray(image, dtype=float)
        n_y, n_x = values.shape
        cumulative = np.zeros((n_y, n_x + 1))
        np.cumsum(values, axis=1, out=cumulative[:, 1:])
        columns = np.arange(n_x)
        total = np.zeros(values.shape)
        for dy, half in enumerate(self.half_widths[:n_y]):
            right, left = np.minimum(columns + half + 1, n_x), np.maximum(columns - half, 0)
            rows = cumulative[:, right] - cumulative[:, left]
            total[: n_y - dy] += rows[dy:]
            if dy:
                total[dy:] += rows[: n_y - dy]
        # What is left of numbers that cancelled isn't a value.
        return np.where(np.abs(total) < 1e-12 * cumulative[:, -1].max(initial=0.0), 0.0, total)
