"""Norms at given directions, and a smooth surface through them."""

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.spatial.core import PureSpatial, SpatialModel, _angle
from villard.modeling.models.spectral.tables import safe_log
from villard.modeling.parameter import Parameter, Parameters
from villard.utils.array import namespace
from villard.utils.units import convert

__all__ = ["PiecewiseNormSpatialModel"]

Array = NDArray[np.float64]


class PiecewiseNormSpatialModel(SpatialModel):
    """Factor with free values at given directions, and a smooth surface through them.

    Longitude and latitude are taken for coordinates of a plane. The surface is the piecewise cubic one of
    Clough & Tocher on the Delaunay triangles of the nodes (Alfeld 1984, Comput. Aided Geom. Des. 1, 257),
    which is linear in the values. Beyond the nodes' convex hull, the factor is that of the hull's nearest
    point.

    Parameters
    ----------
    coords : `~villard.maps.MapCoord`, `~astropy.coordinates.SkyCoord` or dict
        Nodes: quantities "lon" and "lat" in the given frame, or directions in any. Four or more.
    norms : array-like, optional
        Values at the nodes; 1 by default.
    interp : {"lin", "log"}
        Whether values or their logarithms are interpolated.
    **kwargs
        ``frame``, as for `SpatialModel`.

    Raises
    ------
    ModelError
        If there are fewer than four nodes, nodes on one line, or another number of norms.

    Examples
    --------
    >>> nodes = {"lon": [-1, 1, -1, 1] * u.deg, "lat": [0, 0, 2, 2] * u.deg}
    >>> model = PiecewiseNormSpatialModel(nodes, norms=[1, 2, 1, 2], frame="galactic")
    >>> model([359, 0, 1, 5] * u.deg, 1 * u.deg).value.round(3)
    array([1. , 1.5, 2. , 2. ])
    """

    tag = ["PiecewiseNormSpatialModel", "piecewise-norm"]
    yaml_keys = ("frame", "lon", "lat", "interp")

    def __init__(
        self, coords: Any, norms: ArrayLike | None = None, interp: str = "lin", **kwargs: Any
    ) -> None:
        where = type(self).__name__
        if interp not in ("log", "lin"):
            raise ModelError(f"{where}: interp must be 'log' or 'lin', found {interp!r}")
        lon, lat = _nodes(coords, str(kwargs.get("frame", "icrs")), where)
        if lon.size < 4:
            raise ModelError(f"{where}: expected four nodes or more, found {lon.size}")
        # Seen from the middle of the nodes, so that they may lie on both sides of longitude 0.
        turn = np.exp(1j * np.radians(lon)).sum()
        self._middle = float(np.round(np.degrees(np.angle(turn)))) if abs(turn) > 1e-6 else 0.0
        self._points = np.stack([_wrapped(lon - self._middle), lat], axis=-1)
        self._interp = interp
        self._interpolator: Any = None
        values = np.ones(lon.size) if norms is None else convert(norms, "", f"{where}.norms").ravel()
        if values.size != lon.size:
            raise ModelError(f"{where}: expected {lon.size} norms, one per node, found {values.size}")
        parameters = [Parameter(f"norm_{i}", float(value)) for i, value in enumerate(values)]
        self.default_parameters = Parameters(parameters)  # type: ignore[misc]
        super().__init__(**kwargs)
        self._surface()

    @property
    def coords(self) -> tuple[u.Quantity, u.Quantity]:
        """Longitudes and latitudes of the nodes, in the frame of the model."""
        return (self._points[:, 0] + self._middle) * u.deg, self._points[:, 1] * u.deg

    @property
    def norms(self) -> Array:
        """Values at the nodes."""
        return self.parameters.value

    @property
    def interp(self) -> str:
        """Whether values or their logarithms are interpolated."""
        return self._interp

    @property
    def output_unit(self) -> u.UnitBase:
        """No unit: it is a factor."""
        return u.dimensionless_unscaled

    def _surface(self) -> Any:
        """Return the surfaces that are 1 at one node and 0 at the others."""
        from scipy.interpolate import CloughTocher2DInterpolator
        from scipy.spatial import Delaunay, QhullError

        if self._interpolator is None:
            try:
                triangles = Delaunay(self._points)
            except QhullError as error:
                raise ModelError(f"{type(self).__name__}: the nodes lie on one line") from error
            if len(triangles.coplanar):
                raise ModelError(f"{type(self).__name__}: two nodes are at the same place")
            self._interpolator = CloughTocher2DInterpolator(triangles, np.eye(len(self._points)), tol=1e-10)
        return self._interpolator

    def basis(self, lon: ArrayLike, lat: ArrayLike) -> Array:
        """Return the weights of the norms (or of their logarithms) at directions.

        Parameters
        ----------
        lon, lat : array-like
            Directions (deg), in the frame of the model; arrays broadcast.

        Returns
        -------
        `~numpy.ndarray`
            Weights, of the shape of the directions and, last, the number of nodes.
        """
        surface = self._surface()
        lon, lat = np.broadcast_arrays(np.asarray(lon, dtype=float), np.asarray(lat, dtype=float))
        points = np.stack([_wrapped(lon - self._middle), lat], axis=-1)
        outside = surface.tri.find_simplex(points) < 0
        if np.any(outside):
            points[outside] = _nearest_on_hull(points[outside], self._points[surface.tri.convex_hull])
        weights = surface(points).reshape(*lon.shape, -1)
        # A point on the hull may be outside by rounding: then it is moved inwards by as little.
        lost = np.any(~np.isfinite(weights), axis=-1)
        if np.any(lost):
            inner = points[lost] + 1e-9 * (np.mean(self._points, axis=0) - points[lost])
            weights[lost] = surface(inner)
        return np.asarray(weights)

    def pure(self) -> PureSpatial:
        """Return the model as a pure function: the weights at the directions times the norms."""
        n, log = len(self._points), self._interp == "log"

        def evaluate(lon: Any, lat: Any, parameters: Any, arrays: Any) -> Any:
            xp = namespace(lon, lat, parameters)
            norms = xp.stack([xp.asarray(parameters[i]) for i in range(n)])
            weights = self.basis(lon, lat) if xp is np else _traced_basis(self.basis, n, lon, lat)
            return xp.exp(weights @ safe_log(xp, norms)) if log else weights @ norms

        return PureSpatial(
            ("piecewise-norm", self._interp, self._points.tobytes(), self._middle), n, evaluate
        )

    def __call__(self, lon: Any, lat: Any, energy: Any = None) -> u.Quantity:
        """Return the factor, without unit; parameters as for `SpatialModel`."""
        values = self.pure().evaluate
        assert values is not None
        return u.Quantity(values(_angle("lon", lon), _angle("lat", lat), self.norms, ()))

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML; it has ``interp`` only if that isn't "lin"."""
        lon, lat = self.coords
        nodes = {
            "lon": {"data": lon.value.tolist(), "unit": "deg"},
            "lat": {"data": lat.value.tolist(), "unit": "deg"},
        }
        result = {**super().to_dict(full_output), **nodes}
        return result if self._interp == "lin" else {**result, "interp": self._interp}

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        for key in ("lon", "lat"):
            if not isinstance(data.get(key), dict) or not {"data", "unit"} <= set(data[key]):
                raise ModelError(f"{cls.__name__}: expected {key!r} with 'data' and 'unit'")
        coords = {key: u.Quantity(data[key]["data"], data[key]["unit"]) for key in ("lon", "lat")}
        arguments = {**super()._init_arguments(data), "coords": coords}
        return arguments if data.get("interp") is None else {**arguments, "interp": data["interp"]}


def _wrapped(lon: Array) -> Array:
    return (lon + 180) % 360 - 180


def _nodes(coords: Any, frame: str, where: str) -> tuple[Array, Array]:
    """Return longitudes and latitudes of the nodes (deg), flat."""
    from astropy.coordinates import SkyCoord

    if not isinstance(coords, SkyCoord):
        names = set(coords)
        if not names <= {"lon", "lat", "skycoord"}:
            raise ModelError(f"{where}: nodes can't depend on {sorted(names - {'lon', 'lat', 'skycoord'})}")
        if not ({"lon", "lat"} <= names or "skycoord" in names):
            raise ModelError(f"{where}: expected nodes with 'lon' and 'lat', found {sorted(names)}")
        if "skycoord" not in names:
            try:
                lon, lat = np.broadcast_arrays(*(_angle(name, coords[name]) for name in ("lon", "lat")))
            except (UnitsError, ValueError) as error:
                raise ModelError(f"{where}: {error}") from error
            return lon.ravel(), lat.ravel()
        coords = coords["skycoord"]
    sky = coords.transform_to(frame).spherical
    return sky.lon.deg.ravel(), sky.lat.deg.ravel()


def _nearest_on_hull(points: Array, edges: Array) -> Array:
    """Return the nearest points on the edges, shape (n_edges, 2, 2), of a convex hull."""
    start, along = edges[:, 0], edges[:, 1] - edges[:, 0]
    part = np.sum((points[:, None] - start) * along, axis=-1) / np.sum(along**2, axis=-1)
    nearest = start + np.clip(part, 0, 1)[..., None] * along
    best = np.argmin(np.sum((nearest - points[:, None]) ** 2, axis=-1), axis=1)
    return nearest[np.arange(len(points)), best]


def _traced_basis(basis: Any, n: int, lon: Any, lat: Any) -> Any:
    """Return the weights in JAX: directions are data, so that they are never differentiated."""
    from villard._jax import jax, jnp

    if not any(isinstance(value, jax.core.Tracer) for value in (lon, lat)):
        return jnp.asarray(basis(lon, lat))
    shape = (*jnp.broadcast_shapes(jnp.shape(lon), jnp.shape(lat)), n)
    result = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    return jax.pure_callback(basis, result, lon, lat, vmap_method="broadcast_all")
