"""Spectra of a region, of an observation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.irf import EDispKernel, make_map_background_irf
from villard.makers.core import Maker, check_selection, meta_table, need
from villard.makers.map import background_frames
from villard.maps import MapAxis, RegionGeom, RegionNDMap, WcsGeom

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.data.observation import Observation
    from villard.datasets import SpectrumDataset

__all__ = ["SpectrumDatasetMaker", "events_in", "region_points"]

Array = NDArray[np.float64]


class SpectrumDatasetMaker(Maker):
    """Makes counts, exposure, energy dispersion and background of a region.

    Observations with a table of radii (`~villard.irf.RadMax2D`) need a point as region: in each bin of energy
    the events within the radius of that energy and offset are counted.

    Parameters
    ----------
    selection : list of str, optional
        Parts to be made, of "counts", "exposure", "edisp" and "background"; the first three by default.
    containment_correction : bool
        Whether exposure is multiplied by the fraction of photons from the centre of a circle that the PSF
        leaves within it. Responses for point sources include that.
    use_region_center : bool
        Whether responses are those at the region's centre, or averages over the region.

    Examples
    --------
    >>> SpectrumDatasetMaker(selection=["counts"]).selection
    ['counts']
    """

    tag: ClassVar[str] = "SpectrumDatasetMaker"
    available_selection: ClassVar[tuple[str, ...]] = ("counts", "exposure", "edisp", "background")

    def __init__(
        self,
        selection: Iterable[str] | None = None,
        containment_correction: bool = False,
        use_region_center: bool = True,
    ) -> None:
        default = self.available_selection[:3]
        self.selection = check_selection(
            default if selection is None else selection, self.available_selection, self.tag
        )
        self.containment_correction = containment_correction
        self.use_region_center = use_region_center

    def make_counts(self, geom: RegionGeom, observation: Observation) -> RegionNDMap:
        """Return the numbers of events of the region in each bin of energy."""
        axis = geom.axes["energy"]
        energies = events_in(geom.region, observation)
        counts = np.histogram(energies, axis.edges.to_value("TeV"))[0]
        return RegionNDMap(geom, data=counts.astype(float))

    def make_exposure(self, geom: RegionGeom, observation: Observation) -> RegionNDMap:
        """Return effective area times livetime, with the correction for containment if it is asked for."""
        aeff, axis = need(observation, "aeff", self.tag), geom.axes["energy_true"]
        points, weights = self._points(geom, observation)
        offset = points.separation(observation.pointing_radec)
        area = aeff.evaluate(energy_true=axis.center[:, np.newaxis], offset=offset).to_value("m2")
        exposure = area @ weights * observation.livetime.to_value("s")
        if self.containment_correction:
            exposure = exposure * self._containment(geom, observation)
        meta = {"livetime": observation.livetime}
        return RegionNDMap(geom, data=exposure, unit="m2 s", meta=meta)

    def _points(self, geom: RegionGeom, observation: Observation) -> tuple[SkyCoord, Array]:
        center = geom.center_skydir
        if center is None:
            raise DataError(f"{self.tag}: expected a region, found none")
        if self.use_region_center or geom.region.shape == "point":
            return center.reshape(1), np.ones(1)
        points = region_points(geom.region)
        return points, np.full(points.size, 1 / points.size)

    def _containment(self, geom: RegionGeom, observation: Observation) -> Array:
        where = f"{self.tag}, containment_correction"
        if observation.is_pointlike:
            raise DataError(f"{where}: the response of observation {observation.obs_id} includes it already")
        if geom.region.shape != "circle":
            raise DataError(f"{where}: expected a circle as region, found {geom.region}")
        psf, axis = need(observation, "psf", where), geom.axes["energy_true"]
        offset = geom.center_skydir.separation(observation.pointing_radec)
        radius = geom.region.sizes[0] * u.deg
        fraction = psf.containment(rad=radius, energy_true=axis.center, offset=offset).value
        return np.nan_to_num(fraction)

    def make_edisp(self, geom: RegionGeom, axis: MapAxis, observation: Observation) -> EDispKernel:
        """Return the energy dispersion.

        Parameters
        ----------
        geom : `~villard.maps.RegionGeom`
            Region with the axis "energy_true".
        axis : `~villard.maps.MapAxis`
            Reconstructed energies.
        observation : `~villard.data.Observation`
            Observation.
        """
        edisp, true = need(observation, "edisp", self.tag), geom.axes["energy_true"]
        points, weights = self._points(geom, observation)
        offsets = points.separation(observation.pointing_radec).to("deg")
        # The same to a hundredth of a degree need be evaluated once.
        rounded, index = np.unique(np.round(offsets.value, 2), return_inverse=True)
        if len(rounded) == 1:
            rounded = offsets.value[:1]
        shares = np.bincount(index.ravel(), weights=weights)
        matrix = sum(
            share * edisp.to_edisp_kernel(value * u.deg, true, axis).pdf_matrix
            for share, value in zip(shares, rounded, strict=True)
        )
        return EDispKernel([true, axis], matrix)

    def make_background(self, geom: RegionGeom, observation: Observation) -> RegionNDMap:
        """Return the counts that the table of background rates predicts at the region's centre."""
        bkg, frames = need(observation, "bkg", self.tag), background_frames(observation)
        counts = make_map_background_irf(
            observation.pointing_radec, observation.ontime, bkg, geom, frames=frames
        )
        return RegionNDMap(geom, data=counts.data)

    def run(self, dataset: SpectrumDataset, observation: Observation | None = None) -> Any:
        """Return the dataset of an observation, in the geometry of another (empty) one.

        Parameters
        ----------
        dataset : `~villard.datasets.SpectrumDataset`
            Region and axes; its contents aren't used.
        observation : `~villard.data.Observation`
            Observation.

        Raises
        ------
        DataError
            If a part of the observation that is needed is missing, or the region doesn't fit.
        """
        assert observation is not None
        geom, result = dataset.counts.geom, dataset.copy(name=dataset.name)
        true = dataset.exposure.geom
        if "counts" in self.selection:
            result.counts = self.make_counts(geom, observation)
        if "exposure" in self.selection:
            result.exposure = self.make_exposure(true, observation)
        if "edisp" in self.selection:
            result.edisp = self.make_edisp(true, geom.axes["energy"], observation)
        if "background" in self.selection:
            result.background = self.make_background(geom, observation)
        elif result.background is not None and not np.any(result.background.data):
            result.background = None
        result.mask_safe = RegionNDMap(geom, data=np.ones(geom.data_shape, dtype=bool))
        result.gti, result.meta_table = observation.gti, meta_table(observation)
        return result


def events_in(region: Any, observation: Observation) -> Array:
    """Return the energies (TeV) of the events of a region.

    Parameters
    ----------
    region : region
        Region; a point if the observation has a table of radii, which are those at the offset of the point.
    observation : `~villard.data.Observation`
        Observation.

    Raises
    ------
    DataError
        If the region is a point and there is no table of radii, or the other way round.
    """
    events = need(observation, "events", "Counts")
    energies = events.energy.to_value("TeV")
    rad_max = observation.rad_max
    if (region.shape == "point") != (rad_max is not None):
        raise DataError(
            f"Counts of observation {observation.obs_id}: expected "
            + (
                f"a point as region, because there is a table of radii, found {region}"
                if rad_max is not None
                else "a region with a size, because there is no table of radii (rad_max), found a point"
            )
        )
    if rad_max is None:
        return np.asarray(energies[region.contains(events.radec)])
    offset = region.center.separation(observation.pointing_radec)
    radii = rad_max.evaluate(energy=events.energy, offset=offset).to_value("deg")
    return np.asarray(energies[events.radec.separation(region.center).deg <= radii])


def region_points(region: Any, n: int = 20) -> SkyCoord:
    """Return some ``n`` × ``n`` directions that are spread evenly over a region."""
    reach = max(region.sizes) * (2 if region.shape in ("circle", "annulus", "ellipse") else 1)
    width = 1.5 * reach if region.shape == "box" else reach
    frame = "galactic" if region.frame == "galactic" else "icrs"
    geom = WcsGeom.create(skydir=region.center, width=width, binsz=width / n, frame=frame, proj="TAN")
    points = geom.skydirs()
    return points[region.contains(points)]
