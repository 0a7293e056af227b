"""Where the models of a collection are on the sky: positions, outlines, selection, plots."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from matplotlib.axes import Axes

    from villard.maps import Map
    from villard.maps.regions import SkyRegion

__all__ = ["SkyCollection"]


class SkyCollection:
    """What collections of models know of the sky; models without morphology are left out."""

    if TYPE_CHECKING:

        def __init__(self, models: Any = None) -> None: ...
        def __iter__(self) -> Iterator[Any]: ...

    def _sources(self) -> list[Any]:
        """Models with a position."""
        return [m for m in self if getattr(m, "spatial_model", None) is not None and m.position is not None]

    @property
    def positions(self) -> "SkyCoord":
        """Positions of the models that have one, in ICRS."""
        from astropy.coordinates import SkyCoord

        found = [model.position.icrs for model in self._sources()]
        return SkyCoord([p.ra.deg for p in found], [p.dec.deg for p in found], unit="deg", frame="icrs")

    def to_regions(self, size_factor: float = 1.0) -> "list[SkyRegion]":
        """Return the outlines of the models that have a position; those that fill the sky have none.

        Parameters
        ----------
        size_factor : float
            As for `SpatialModel.to_region`.
        """
        result = []
        for model in self._sources():
            try:
                result.append(model.spatial_model.to_region(size_factor=size_factor))
            except ModelError:
                continue
        return result

    def select_region(self, regions: Any) -> Self:
        """Return the models whose position is in one of the regions.

        Parameters
        ----------
        regions : str, region or list of these
            As for `~villard.maps.RegionGeom`.
        """
        from villard.maps.regions import make_region

        region = make_region(regions)
        if region is None:
            raise ModelError("Models.select_region: expected a region, found None")
        return type(self)([m for m in self._sources() if np.all(region.contains(m.position))])

    def select_mask(self, mask: "Map", margin: Any = "0 deg", use_evaluation_region: bool = True) -> Self:
        """Return the models that reach pixels at which a mask is true.

        Parameters
        ----------
        mask : `~villard.maps.WcsNDMap`
            Boolean map.
        margin : `~astropy.units.Quantity`
            Distance beyond which they don't.
        use_evaluation_region : bool
            Whether what counts is the `SpatialModel.evaluation_radius`, or the position only.

        Returns
        -------
        `Models`
            Models; those that fill the sky are among them.
        """
        if not getattr(mask, "is_mask", False):
            raise ModelError("Models.select_mask: expected a map of booleans")
        geom: Any = mask.geom
        inside = np.any(mask.data, axis=tuple(range(mask.data.ndim - 2)))
        reach = float(u.Quantity(margin).to_value("deg")) + 0.5 * float(np.max(geom.pixel_scales.value))
        pixels = geom.to_image().skydirs()[inside]

        def reaches(model: Any) -> bool:
            if getattr(model, "spatial_model", None) is None or not pixels.size:
                return False
            radius = model.evaluation_radius if use_evaluation_region else 0 * u.deg
            if model.position is None or radius is None:
                return True
            nearest = np.nanmin(pixels.separation(model.position.transform_to(geom.frame)).deg)
            return bool(nearest <= reach + radius.to_value("deg"))

        return type(self)([model for model in self if reaches(model)])

    def select_from_geom(self, geom: Any, **kwargs: Any) -> Self:
        """Return the models that reach a geometry; keywords as for `select_mask`."""
        from villard.maps import Map

        image = geom.to_image()
        return self.select_mask(Map.from_geom(image, data=np.ones(image.data_shape, dtype=bool)), **kwargs)

    def plot_positions(self, ax: "Axes", **kwargs: Any) -> "Axes":
        """Plot the positions on axes with sky coordinates; keywords: `~matplotlib.axes.Axes.scatter`."""
        positions = self.positions
        options: dict[str, Any] = {"marker": "x", "color": "tab:blue"} | kwargs
        sky: Any = ax
        sky.scatter(positions.ra.deg, positions.dec.deg, transform=sky.get_transform("icrs"), **options)
        return ax

    def plot_regions(self, ax: "Axes", size_factor: float = 1.0, **kwargs: Any) -> "Axes":
        """Plot the outlines on axes with sky coordinates.

        Parameters
        ----------
        ax : `~astropy.visualization.wcsaxes.WCSAxes`
            Axes.
        size_factor : float
            As for `to_regions`.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        from villard.modeling.models.spatial.plot import plot_region

        options: dict[str, Any] = {"color": "tab:blue", "lw": 1} | kwargs
        for region in self.to_regions(size_factor):
            plot_region(region, ax, **options)
        return ax
