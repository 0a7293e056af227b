"""Base class of spatial models and the pure functions that the likelihood compiles."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.core import ModelBase
from villard.utils.traced import traceable
from villard.utils.units import to_canonical, unit_text

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from matplotlib.axes import Axes

    from villard.maps import Map, WcsGeom
    from villard.maps.regions import SkyRegion

__all__ = ["PureSpatial", "SpatialModel"]

#: sqrt(-2 ln(1 - 0.95)): half axes of the ellipse that contains 95 % of a bivariate normal distribution.
_CONTAINMENT_95 = 2.447746830680816
_SR = u.Unit("sr-1")


@dataclass(frozen=True)
class PureSpatial:
    """A spatial model as a pure function of arrays: what the likelihood knows of it.

    Called as ``evaluate(lon, lat, parameters, arrays)`` with directions in degrees, in the frame of
    the model, and ``parameters`` indexable by position, in numpy or in JAX.

    Parameters
    ----------
    key : hashable
        Identifies the code: models with equal keys are compiled and evaluated together.
    n_parameters : int
        Number of parameters.
    evaluate : callable or None
        Density per solid angle (sr-1); `None` for a point source, which has none.
    arrays : tuple of arrays
        Data of the model (templates); equal shapes are needed within a key.
    position : tuple of int or None
        Positions of the parameters that are longitude and latitude of the centre, if there is one.
    evaluate_cells : callable or None
        As ``evaluate``, with the size (deg) of cells as a fifth argument: the mean over cells around the
        directions, for shapes whose edges are sharper than cells.
    """

    key: Hashable
    n_parameters: int
    evaluate: Callable[..., Any] | None
    arrays: tuple[NDArray[np.float64], ...] = ()
    position: tuple[int, int] | None = None
    evaluate_cells: Callable[..., Any] | None = None


class SpatialModel(ModelBase):
    """Base class of spatial models.

    A subclass declares `Parameter` attributes and a static method ``evaluate(lon, lat, ...)`` of
    plain arrays in degrees that takes the parameters in the order of declaration and returns the
    density per steradian. Those that have a centre call it ``lon_0``, ``lat_0``.

    A morphology that depends on energy sets ``is_energy_dependent = True`` and takes the energy (TeV) as
    third argument, ``evaluate(lon, lat, energy, ...)``. So spectra may vary over the sky: the sky model's
    spectrum is that where ``evaluate`` gives what it would without such dependence.

    Parameters
    ----------
    frame : str
        Frame of the coordinates, such as "icrs" or "galactic".
    **kwargs
        Values of parameters.

    Raises
    ------
    ModelError
        If the frame is unknown, or an argument isn't a parameter of the model.
    """

    kind: ClassVar[str] = "spatial"
    #: Whether all flux comes from one direction, so that there is no density.
    is_point: ClassVar[bool] = False
    is_energy_dependent: ClassVar[bool] = False
    yaml_keys: ClassVar[tuple[str, ...]] = ("frame",)
    _settable: ClassVar[tuple[str, ...]] = ("frame",)

    def __init__(self, *, frame: str = "icrs", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frame = frame

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "frame":
            value = _frame_name(value, type(self).__name__)
        super().__setattr__(name, value)

    @staticmethod
    def evaluate(lon: Any, lat: Any, *parameters: Any) -> Any:
        """Density per solid angle as a pure function of arrays; subclasses define it."""
        raise NotImplementedError

    def pure(self) -> PureSpatial:
        """Return the model as a pure function of arrays."""
        function = traceable(type(self).evaluate, f"{type(self).__name__}.evaluate")
        names = self.default_parameters.names
        n = len(names)
        if self.is_energy_dependent:
            return PureSpatial((type(self),), n, None, (), self._position)

        def evaluate(lon: Any, lat: Any, parameters: Any, arrays: Any) -> Any:
            return function(lon, lat, *(parameters[i] for i in range(n)))

        of_cells = getattr(type(self), "evaluate_cells", None)
        if of_cells is None:
            return PureSpatial((type(self),), n, evaluate, (), self._position)
        cells = traceable(of_cells, f"{type(self).__name__}.evaluate_cells")

        def evaluate_cells(lon: Any, lat: Any, parameters: Any, arrays: Any, size: Any) -> Any:
            return cells(lon, lat, *(parameters[i] for i in range(n)), size)

        return PureSpatial((type(self),), n, evaluate, (), self._position, evaluate_cells)

    def __call__(self, lon: Any, lat: Any, energy: Any = None) -> u.Quantity:
        """Return the density per solid angle.

        Parameters
        ----------
        lon, lat : `~astropy.units.Quantity`
            Directions in the frame of the model; arrays broadcast.
        energy : `~astropy.units.Quantity`, optional
            Energies, which broadcast, too; not used by models whose shape doesn't depend on energy.

        Returns
        -------
        `~astropy.units.Quantity`
            Density (sr-1).

        Raises
        ------
        ModelError
            If the shape depends on energy, which is missing.
        """
        pure = self.pure()
        lon, lat = np.broadcast_arrays(_angle("lon", lon), _angle("lat", lat))
        parameters = [p.engine_value for p in self.parameters]
        # Far from a source exponentials end in zero, which is right.
        with np.errstate(under="ignore"):
            if pure.evaluate is not None:
                return u.Quantity(pure.evaluate(lon, lat, parameters, pure.arrays), _SR)
            return u.Quantity(type(self).evaluate(lon, lat, self._energy(energy), *parameters), _SR)

    def _energy(self, energy: Any) -> NDArray[np.float64]:
        """Return energies in TeV."""
        if energy is None:
            raise ModelError(f"{type(self).__name__}: the morphology depends on energy, which is missing")
        energy = u.Quantity(energy)
        if not energy.unit.is_equivalent(u.TeV):
            raise UnitsError(f"{type(self).__name__}: expected an energy, found {unit_text(energy.unit)}")
        return to_canonical(energy)

    @property
    def output_unit(self) -> u.UnitBase:
        """Unit of the values: sr-1, unless the model holds a template in another one."""
        return _SR

    # Position

    @property
    def position_lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the centre (deg), in the frame of the model."""
        if self._position is None:
            raise ModelError(f"{type(self).__name__} has no position")
        lon, lat = (self.parameters[i].engine_value for i in self._position)
        return lon, lat

    @property
    def _position(self) -> tuple[int, int] | None:
        """Positions of the parameters that are longitude and latitude of the centre, if there is one."""
        names = self.default_parameters.names
        return (names.index("lon_0"), names.index("lat_0")) if "lon_0" in names else None

    @property
    def position(self) -> "SkyCoord | None":
        """Centre; `None` for a model without."""
        from astropy.coordinates import SkyCoord

        if self._position is None:
            return None
        return SkyCoord(*self.position_lonlat, unit="deg", frame=self.frame)

    @position.setter
    def position(self, position: "SkyCoord") -> None:
        lon, lat = _in_frame(position, self.frame)
        for name, value in (("lon_0", lon), ("lat_0", lat)):
            if name not in self.default_parameters.names:
                raise ModelError(f"{type(self).__name__} has no position")
            setattr(self, name, value)

    @classmethod
    def from_position(cls, position: "SkyCoord", **kwargs: Any) -> Self:
        """Make a model at a position, in the frame of that.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord`
            Centre.
        **kwargs
            Values of other parameters.
        """
        frame = position.frame.name
        lon, lat = _in_frame(position, frame)
        return cls(lon_0=lon, lat_0=lat, frame=frame, **kwargs)

    def _position_covariance(self) -> NDArray[np.float64]:
        """Covariance of the offsets of the centre towards east and north (deg²), shape (2, 2)."""
        lat = np.radians(self.position_lonlat[1])
        position = self._position
        assert position is not None  # position_lonlat raises without
        scale = np.array([self.parameters[i].engine_factor for i in position]) * [np.cos(lat), 1]
        return self.covariance.data[np.ix_(position, position)] * np.outer(scale, scale)

    @property
    def position_error(self) -> "SkyRegion":
        """Ellipse that contains the true position with 95 % probability, from the errors of the fit.

        Raises
        ------
        ModelError
            If the model has no position, or the position has no errors.
        """
        from villard.maps.regions import SkyRegion

        variances, axes = np.linalg.eigh(self._position_covariance())
        if variances[1] <= 0:
            raise ModelError(f"{type(self).__name__}: the position has no errors, fit first")
        minor, major = _CONTAINMENT_95 * np.sqrt(np.clip(variances, 0, None))
        # A region's angle is the position angle of its second axis.
        angle = float(np.degrees(np.arctan2(*axes[:, 1]))) % 180
        sizes = (float(minor), float(major))
        return SkyRegion("ellipse", *self.position_lonlat, sizes, angle, self.frame)

    @property
    def phi_0(self) -> u.Quantity:
        """Position angle of the major axis of the `position_error`, from north towards east."""
        return self.position_error.angle * u.deg

    # Extent

    @property
    def evaluation_radius(self) -> u.Quantity | None:
        """Radius around the position beyond which the density is neglected; `None` if it isn't anywhere."""
        return None

    @property
    def evaluation_bin_size_min(self) -> u.Quantity | None:
        """Size of pixels that resolve the shape; `None` if any do."""
        return None

    def _half_axes(self) -> tuple[u.Quantity, u.Quantity] | None:
        """Half minor and half major axis of the ellipse that stands for the shape."""
        return None

    def _annulus(self) -> tuple[u.Quantity, u.Quantity] | None:
        """Inner and outer radius of the annulus that stands for the shape."""
        return None

    def to_region(self, size_factor: float = 1.0) -> "SkyRegion":
        """Return the outline: an ellipse for Gaussians and disks, an annulus for shells.

        Parameters
        ----------
        size_factor : float
            Factor for the axes of an ellipse; a Gaussian's are its standard deviations.

        Raises
        ------
        ModelError
            If the model has no outline.
        """
        from villard.maps.regions import SkyRegion

        if (axes := self._half_axes()) is not None:
            sizes = tuple(size_factor * float(axis.to_value("deg")) for axis in axes)
            angle = self.parameters["phi"].engine_value
            return SkyRegion("ellipse", *self.position_lonlat, sizes, angle, self.frame)
        if (radii := self._annulus()) is not None:
            sizes = tuple(float(radius.to_value("deg")) for radius in radii)
            return SkyRegion("annulus", *self.position_lonlat, sizes, 0.0, self.frame)
        raise ModelError(f"{type(self).__name__} fills the whole sky and has no outline")

    # Maps

    def evaluate_geom(self, geom: Any) -> u.Quantity:
        """Return the values at the centres of pixels.

        Parameters
        ----------
        geom : `~villard.maps.WcsGeom` or `~villard.maps.RegionGeom`
            Geometry; with energies, if the model depends on them.

        Returns
        -------
        `~astropy.units.Quantity`
            Values (sr-1), in the shape of the image, or of the cube if the model depends on energy. For a
            point its integral over pixels divided by their solid angle.
        """
        from villard.modeling.models.spatial.integrate import evaluate_geom

        return evaluate_geom(self, geom)

    def integrate_geom(self, geom: Any, oversampling_factor: int | None = None) -> "Map":
        """Return the integrals over pixels, or over a region.

        A point is shared among the four nearest pixels, each of which gets the part of a pixel-sized square
        around the point that covers it. What falls outside of the map is lost.

        Parameters
        ----------
        geom : `~villard.maps.WcsGeom` or `~villard.maps.RegionGeom`
            Geometry; with energies, if the model depends on them.
        oversampling_factor : int, optional
            Number of equal parts, in each direction, of pixels, at whose centres values are taken. By default
            shapes are integrated adaptively, to 1e-5 or better of their flux also at sharp edges and where
            they are smaller than a pixel, and templates with parts no larger than their own pixels.

        Returns
        -------
        `~villard.maps.Map`
            Fractions of the flux (or integrals of a template): an image, or a cube if the model depends
            on energy.

        Examples
        --------
        >>> from villard.maps import WcsGeom
        >>> from villard.modeling.models import GaussianSpatialModel
        >>> geom = WcsGeom.create(npix=40, binsz=0.1)
        >>> round(float(GaussianSpatialModel(sigma="0.02 deg").integrate_geom(geom).data.sum()), 5)
        1.0
        """
        from villard.modeling.models.spatial.integrate import integrate_geom

        return integrate_geom(self, geom, oversampling_factor)

    # Plots

    def plot(self, ax: "Axes | None" = None, geom: "WcsGeom | None" = None, **kwargs: Any) -> "Axes":
        """Plot the morphology.

        Parameters
        ----------
        ax : `~astropy.visualization.wcsaxes.WCSAxes`, optional
            Where to plot; new axes of the current figure by default.
        geom : `~villard.maps.WcsGeom`, optional
            Pixels; by default such that all of it is seen.
        **kwargs
            For `~villard.maps.WcsNDMap.plot`.
        """
        from villard.modeling.models.spatial.plot import plot_image

        return plot_image(self, ax, geom, **kwargs)

    def plot_grid(self, geom: "WcsGeom | None" = None, **kwargs: Any) -> NDArray[Any]:
        """Plot the morphology at each energy.

        Parameters
        ----------
        geom : `~villard.maps.WcsGeom`, optional
            Pixels and energies; by default those of the template.
        **kwargs
            For `~villard.maps.WcsNDMap.plot_grid`.
        """
        from villard.modeling.models.spatial.plot import plot_grid

        return plot_grid(self, geom, **kwargs)

    def plot_position_error(self, ax: "Axes | None" = None, **kwargs: Any) -> "Axes":
        """Plot the position and the ellipse that contains the true one with 95 % probability.

        Parameters
        ----------
        ax : `~astropy.visualization.wcsaxes.WCSAxes`, optional
            Where to plot; new axes of the current figure by default.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        from villard.modeling.models.spatial.plot import plot_position_error

        return plot_position_error(self, ax, **kwargs)

    def plot_error(
        self,
        ax: "Axes | None" = None,
        which: str = "position",
        size_factor: float = 1.0,
        kwargs_position: dict[str, Any] | None = None,
        kwargs_extension: dict[str, Any] | None = None,
    ) -> "Axes":
        """Plot the errors of the fit.

        Parameters
        ----------
        ax : `~astropy.visualization.wcsaxes.WCSAxes`, optional
            Where to plot; new axes of the current figure by default.
        which : {"position", "extension", "all"}
            The `position_error`, or the outline with dashed ones for sizes one error smaller and larger.
        size_factor : float
            As for `to_region`.
        kwargs_position, kwargs_extension : dict, optional
            For `~matplotlib.axes.Axes.plot`.
        """
        from villard.modeling.models.spatial.plot import plot_error

        return plot_error(self, ax, which, size_factor, kwargs_position, kwargs_extension)

    # YAML

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML."""
        data = super().to_dict(full_output)
        return {"type": data.pop("type"), "frame": self.frame, **data}

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {"frame": data["frame"]} if data.get("frame") is not None else {}

    def __repr__(self) -> str:
        text = super().__repr__()
        return text if self.frame == "icrs" else f"{text[:-1]}, frame={self.frame!r})"


def _frame_name(frame: Any, where: str) -> str:
    from astropy.coordinates import frame_transform_graph

    name = getattr(frame, "name", frame)
    if not isinstance(name, str) or frame_transform_graph.lookup_name(name) is None:
        raise ModelError(f"{where}: unknown frame {frame!r}, expected for example 'icrs' or 'galactic'")
    return name


def _in_frame(position: "SkyCoord", frame: str) -> tuple[u.Quantity, u.Quantity]:
    coordinates = position.transform_to(frame).spherical
    return u.Quantity(coordinates.lon.deg, u.deg), u.Quantity(coordinates.lat.deg, u.deg)


def _angle(name: str, value: Any) -> NDArray[np.float64]:
    value = u.Quantity(value)
    if not value.unit.is_equivalent(u.deg):
        raise UnitsError(f"{name}: expected an angle, found {value.unit or 'no unit'}")
    return to_canonical(value)
