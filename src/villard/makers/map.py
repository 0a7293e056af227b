"""Cubes of counts, exposure, background and responses, of an observation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from villard.irf import (
    make_edisp_kernel_map,
    make_edisp_map,
    make_map_background_irf,
    make_map_exposure_true_energy,
    make_psf_map,
)
from villard.irf.fov import observation_frames
from villard.makers.core import Maker, check_selection, meta_table, need
from villard.maps import Map

if TYPE_CHECKING:
    from villard.data.observation import Observation
    from villard.datasets import MapDataset
    from villard.maps.geom import Geom

__all__ = ["MapDatasetMaker", "background_frames"]


def background_frames(observation: Observation) -> Any:
    """Return the frames over which the background has to be averaged; see `make_map_background_irf`."""
    if getattr(observation.bkg, "fov_alignment", "RADEC") != "ALTAZ":
        return None
    start, stop = observation.tstart, observation.tstop
    return observation_frames(observation.pointing_radec, start, stop, observation.location)


class MapDatasetMaker(Maker):
    """Makes counts, exposure, background, PSF and energy dispersion of an observation.

    Parameters
    ----------
    selection : list of str, optional
        Parts to be made, of "counts", "exposure", "background", "psf" and "edisp"; all by default.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from villard.data import Observation
    >>> from villard.datasets import MapDataset
    >>> from villard.irf import EffectiveAreaTable2D
    >>> from villard.maps import MapAxis, WcsGeom
    >>> true = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
    >>> offset = MapAxis.from_nodes([0, 2] * u.deg, name="offset")
    >>> aeff = EffectiveAreaTable2D([true, offset], [[1e5, 1e5]] * 2 * u.m**2)
    >>> pointing = SkyCoord(83.6, 22, unit="deg")
    >>> observation = Observation.create(pointing, livetime=100 * u.s, irfs={"aeff": aeff})
    >>> geom = WcsGeom.create(skydir=pointing, binsz=0.5, width=2, axes=[true.rename("energy")])
    >>> dataset = MapDatasetMaker(selection=["exposure"]).run(MapDataset.create(geom), observation)
    >>> float(dataset.exposure.quantity.max().to_value("m2 s"))
    10000000.0
    """

    tag: ClassVar[str] = "MapDatasetMaker"
    available_selection: ClassVar[tuple[str, ...]] = ("counts", "exposure", "background", "psf", "edisp")

    def __init__(self, selection: Iterable[str] | None = None) -> None:
        self.selection = check_selection(selection, self.available_selection, self.tag)

    def make_counts(self, geom: Geom, observation: Observation) -> Map:
        """Return the numbers of events in each bin."""
        events = need(observation, "events", self.tag)
        counts = Map.from_geom(geom, data=np.zeros(geom.data_shape))
        counts.fill_by_coord(events.map_coord(geom))
        return counts

    def make_exposure(self, geom: Geom, observation: Observation) -> Map:
        """Return effective area times livetime."""
        aeff = need(observation, "aeff", self.tag)
        exposure = make_map_exposure_true_energy(observation.pointing_radec, observation.livetime, aeff, geom)
        exposure.meta["livetime"] = observation.livetime
        return exposure

    def make_background(self, geom: Geom, observation: Observation) -> Map:
        """Return the counts that the table of background rates predicts."""
        bkg, frames = need(observation, "bkg", self.tag), background_frames(observation)
        return make_map_background_irf(
            observation.pointing_radec, observation.ontime, bkg, geom, frames=frames
        )

    def make_psf(self, geom: Geom, observation: Observation) -> Any:
        """Return the map of point spread functions."""
        exposure = self._exposure_beside(geom, "rad", observation)
        return make_psf_map(need(observation, "psf", self.tag), observation.pointing_radec, geom, exposure)

    def make_edisp(self, geom: Geom, observation: Observation) -> Any:
        """Return the map of energy dispersions: densities of migra, or kernels if there is "energy"."""
        edisp, pointing = need(observation, "edisp", self.tag), observation.pointing_radec
        if "migra" in geom.axes.names:
            exposure = self._exposure_beside(geom, "migra", observation)
            return make_edisp_map(edisp, pointing, geom, exposure)
        made = make_edisp_kernel_map(edisp, pointing, geom)
        exposure = self._exposure_beside(geom, "energy", observation)
        return type(made)(made.edisp_map, exposure)

    def _exposure_beside(self, geom: Geom, name: str, observation: Observation) -> Map | None:
        if observation.aeff is None:
            return None
        exposure = self.make_exposure(geom.to_image().to_cube([geom.axes["energy_true"]]), observation)
        return exposure.copy(geom=geom.squash(name), data=exposure.data[:, np.newaxis], meta={})

    def run(self, dataset: MapDataset, observation: Observation | None = None) -> Any:
        """Return the dataset of an observation, in the geometry of another (empty) one.

        Parameters
        ----------
        dataset : `~villard.datasets.MapDataset`
            Geometries; its contents aren't used.
        observation : `~villard.data.Observation`
            Observation.

        Raises
        ------
        DataError
            If a part of the observation that is needed is missing, or doesn't cover the energies.
        """
        assert observation is not None
        geoms, result = dataset.geoms, dataset.copy(name=dataset.name)
        places = {
            "counts": "geom",
            "exposure": "geom_exposure",
            "background": "geom",
            "psf": "geom_psf",
            "edisp": "geom_edisp",
        }
        for name in self.selection:
            if places[name] in geoms:
                made = getattr(self, f"make_{name}")(geoms[places[name]], observation)
                setattr(result, name, made)
        geom = geoms["geom"]
        result.mask_safe = Map.from_geom(geom, data=np.ones(geom.data_shape, dtype=bool))
        result.gti, result.meta_table = observation.gti, meta_table(observation)
        return result
