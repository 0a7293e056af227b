"""Profiles: fluxes in regions side by side on a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.estimators.flux_points import FluxPoints
from villard.estimators.flux_points_estimator import FluxPointsEstimator
from villard.estimators.map_data import as_datasets
from villard.estimators.sed_types import PER_DATASET, SUFFIXES, check_sed_type, prefix_of
from villard.exceptions import ConfigError, DataError
from villard.maps import MapAxis, SkyRegion
from villard.maps.regions import make_region
from villard.utils.progress import ProgressBar

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

__all__ = ["FluxProfile", "FluxProfileEstimator"]


class FluxProfile:
    """Flux points in each of several regions.

    Parameters
    ----------
    regions : list of `~villard.maps.SkyRegion`
        Regions.
    projected_distance : `~villard.maps.MapAxis`
        Distance of the regions along the profile.
    flux_points : list of `FluxPoints`
        Fluxes in each region.
    """

    def __init__(
        self, regions: Sequence[SkyRegion], projected_distance: MapAxis, flux_points: Sequence[FluxPoints]
    ) -> None:
        if not len(regions) == projected_distance.nbin == len(flux_points) > 0:
            raise DataError(
                f"FluxProfile: expected as many regions as distances and flux points, found {len(regions)}, "
                f"{projected_distance.nbin} and {len(flux_points)}"
            )
        self.regions = list(regions)
        self.projected_distance = projected_distance
        self.flux_points = list(flux_points)

    @property
    def energy_axis(self) -> MapAxis:
        """Energy bins."""
        return self.flux_points[0].energy_axis

    @property
    def solid_angle(self) -> u.Quantity:
        """Solid angle of each region (sr), shape (n_regions,)."""
        return u.Quantity([region.solid_angle for region in self.regions])

    def quantity(self, name: str) -> u.Quantity:
        """Return a quantity of the flux points, such as ``"flux_ul"`` or ``"counts"``.

        Parameters
        ----------
        name : str
            Name, as for `FluxPoints.quantity`.

        Returns
        -------
        `~astropy.units.Quantity`
            Shape (n_energy, n_regions).
        """
        values = u.Quantity([points.quantity(name) for points in self.flux_points])
        if name in PER_DATASET:
            values = values.sum(axis=2)
        return values.T

    def to_table(self, sed_type: str = "flux") -> Table:
        """Return the profile with one row per region.

        Parameters
        ----------
        sed_type : {"likelihood", "dnde", "e2dnde", "flux", "eflux"}
            Representation of fluxes.

        Returns
        -------
        `~astropy.table.Table`
            Columns ``x_min``, ``x_ref``, ``x_max``, ``solid_angle``, and for the fluxes one value per
            energy bin.
        """
        from astropy.table import Table

        axis, prefix = self.projected_distance, prefix_of(check_sed_type(sed_type, "FluxProfile"))
        table = Table()
        table["x_min"], table["x_ref"], table["x_max"] = axis.edges[:-1], axis.center, axis.edges[1:]
        table["solid_angle"] = self.solid_angle
        for name in ("counts", "npred", "npred_excess", "ts", "sqrt_ts", *(prefix + s for s in SUFFIXES)):
            if self.flux_points[0].has(name):
                table[name] = self.quantity(name).T
        return table

    def plot(self, ax: Axes | None = None, sed_type: str = "flux", **kwargs: Any) -> Axes:
        """Plot the flux with its error against the distance, for each energy bin.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        sed_type : {"likelihood", "dnde", "e2dnde", "flux", "eflux"}
            Representation.
        **kwargs
            For `~matplotlib.axes.Axes.errorbar`.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        prefix = prefix_of(check_sed_type(sed_type, "FluxProfile"))
        axis = self.projected_distance
        values, errors = self.quantity(prefix), self.quantity(f"{prefix}_err")
        edges = self.energy_axis.edges
        for i, (value, error) in enumerate(zip(values, errors, strict=True)):
            label = f"{edges[i].value:.3g} – {edges[i + 1].value:.3g} {edges.unit}"
            style = {"fmt": "o", "label": label} | kwargs
            ax.errorbar(axis.center.value, value.value, error.value, xerr=axis.bin_width.value / 2, **style)
        ax.set_xlabel(f"distance [{axis.unit}]")
        ax.set_ylabel(f"{sed_type} [{values.unit}]" if str(values.unit) else "norm")
        ax.legend()
        return ax

    def __len__(self) -> int:
        return len(self.regions)

    def __str__(self) -> str:
        edges, energy = self.projected_distance.edges, self.energy_axis.edges
        return (
            f"FluxProfile\n\n  Regions   : {len(self)}, {self.regions[0].shape}\n"
            f"  Distances : {edges[0].value:.4g} to {edges[-1].value:.4g} {edges.unit}\n"
            f"  Energies  : {energy[0].value:.4g} to {energy[-1].value:.4g} {energy.unit} "
            f"in {self.energy_axis.nbin} bins\n"
        )


class FluxProfileEstimator:
    """Estimate the flux in each of several regions.

    Counts of the pixels with their centre in a region are compared with the background, which is what the
    dataset predicts there with all its models. The flux is that of the excess over the mean exposure of
    these pixels; what the PSF scatters from region to region isn't undone.

    Parameters
    ----------
    regions : list of regions
        Regions, as of `make_orthogonal_rectangle_sky_regions`, `make_concentric_annulus_sky_regions`, in
        DS9 notation or objects of the package ``regions``.
    spectral_model : spectral model, optional
        Spectrum of the excess; a power law of index 2 by default.
    energy_edges : `~astropy.units.Quantity`
        Edges of the energy bins.
    **kwargs
        For `FluxPointsEstimator`: ``n_sigma``, ``n_sigma_ul``, ``selection_optional``.

    Raises
    ------
    ConfigError
        If a setting isn't known or possible.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from villard.datasets import MapDataset
    >>> from villard.estimators import make_concentric_annulus_sky_regions
    >>> from villard.maps import WcsGeom, WcsNDMap
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    >>> geom = WcsGeom.create(npix=40, binsz=0.05, axes=[axis])
    >>> exposure = WcsNDMap(geom.as_energy_true(), data=np.full(geom.data_shape, 1e13), unit="cm2 s")
    >>> background = WcsNDMap(geom, data=np.full(geom.data_shape, 2.0))
    >>> counts = WcsNDMap(geom, data=np.full(geom.data_shape, 3.0))
    >>> dataset = MapDataset(counts=counts, background=background, exposure=exposure, name="toy")
    >>> rings = make_concentric_annulus_sky_regions(SkyCoord(0, 0, unit="deg"), 0.8, nbin=2)
    >>> profile = FluxProfileEstimator(rings, energy_edges=[1, 10] * u.TeV).run(dataset)
    >>> profile.quantity("npred_excess").round(3)
    <Quantity [[208., 604.]]>
    >>> profile.projected_distance.center.round(3)
    <Quantity [0.2, 0.6] deg>
    """

    tag = "FluxProfileEstimator"

    def __init__(
        self,
        regions: Sequence[Any],
        spectral_model: Any = None,
        energy_edges: Any = [1, 10] * u.TeV,
        **kwargs: Any,
    ) -> None:
        made = [make_region(region) for region in regions]
        if len(made) < 1 or not all(isinstance(region, SkyRegion) for region in made):
            raise ConfigError(f"{self.tag}: expected a list of single regions, found {regions}")
        self.regions: list[SkyRegion] = [region for region in made if isinstance(region, SkyRegion)]
        if len({region.shape for region in self.regions}) > 1:
            shapes = ", ".join(region.shape for region in self.regions)
            raise ConfigError(f"{self.tag}: expected regions of one shape, found {shapes}")
        self.spectral_model = spectral_model
        self._points = FluxPointsEstimator(energy_edges=energy_edges, source="profile", **kwargs)

    @property
    def projected_distance_axis(self) -> MapAxis:
        """Distances: radii of rings, else lengths along the regions from the first one's edge on."""
        if self.regions[0].shape == "annulus":
            edges = [self.regions[0].sizes[0], *(region.sizes[1] for region in self.regions)]
            return MapAxis.from_edges(edges, unit="deg", name="projected-distance")
        if self.regions[0].shape == "box":
            lengths = np.append(0.0, np.cumsum([region.sizes[0] for region in self.regions]))
            return MapAxis.from_edges(lengths, unit="deg", name="projected-distance")
        first = self.regions[0].center
        nodes = [float(first.separation(region.center).deg) for region in self.regions]
        if len(nodes) > 1 and np.any(np.diff(nodes) <= 0):
            raise ConfigError(f"{self.tag}: expected regions farther and farther from the first one")
        return MapAxis.from_nodes(nodes, unit="deg", name="projected-distance", interp="lin")

    def run(self, datasets: Any) -> FluxProfile:
        """Estimate the fluxes.

        Parameters
        ----------
        datasets : dataset, list of datasets or `~villard.datasets.Datasets`
            Cubes of counts in the same pixels, which are fitted together.

        Returns
        -------
        `FluxProfile`
            Flux points of each region.

        Raises
        ------
        DataError
            If a region has no pixel, or a dataset with off counts has models.
        """
        items = [_with_models_as_background(d, self.tag) for d in as_datasets(datasets, self.tag)]
        axis = self.projected_distance_axis
        results = []
        with ProgressBar(len(self.regions), self.tag) as bar:
            for region in self.regions:
                results.append(self._points.run(self._spectra(items, region)))
                bar.advance()
        return FluxProfile(self.regions, axis, results)

    def _spectra(self, items: list[Any], region: SkyRegion) -> list[Any]:
        from villard.modeling.models import PowerLawSpectralModel, SkyModel

        inside = items[0].counts.geom.to_image().region_mask([region]).data
        if not inside.any():
            raise DataError(f"{self.tag}: no pixel has its centre in the region {region.to_ds9()}")
        spectrum = (
            PowerLawSpectralModel(index=2) if self.spectral_model is None else self.spectral_model.copy()
        )
        model = SkyModel(spectrum, name="profile")
        # Without limits: the excess may be negative.
        for parameter in model.parameters:
            if parameter.is_norm:
                parameter.min = parameter.max = np.nan
        spectra = [item.to_spectrum_dataset(region, name=f"{item.name}-{i}") for i, item in enumerate(items)]
        for dataset in spectra:
            dataset.models = [model]
        return spectra


def _with_models_as_background(dataset: Any, where: str) -> Any:
    """Return a dataset whose background is all that it predicts."""
    if not dataset.models:
        return dataset
    if dataset.stat_type == "wstat":
        raise DataError(
            f"{where}: dataset {dataset.name!r} has off counts and models, which can't count as background"
        )
    copy = dataset.copy(name=dataset.name)
    copy.background = dataset.npred()
    return copy
