"""What an axis is: nodes on a scale, edges, centres, coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError, UnitsError
from villard.maps import scale
from villard.maps.labels import label_with_unit
from villard.utils.units import canonical_factor, parse_unit

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RTOL", "AxisBase", "value_in"]

# Energies are kept in files as 32 bit floats in keV, so edges that are meant to be equal differ by 1e-7.
RTOL = 1e-6

_NODE_TYPES = ("edges", "center")


def _freeze(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.flags.writeable = False
    return array


def _quantity(value: ArrayLike, unit: u.UnitBase) -> u.Quantity:
    quantity = u.Quantity(np.asarray(value), unit, copy=False)
    if quantity.ndim:
        quantity.flags.writeable = False
    return quantity


def value_in(quantity: Any, unit: u.UnitBase, where: str) -> NDArray[np.float64]:
    """Return the value of a quantity (or plain number, then taken to be in ``unit``) in ``unit``."""
    if isinstance(quantity, (list, tuple)) and any(isinstance(item, u.Quantity) for item in quantity):
        quantity = u.Quantity(quantity)
    if isinstance(quantity, str):
        quantity = u.Quantity(quantity)
    if not hasattr(quantity, "unit"):
        return np.asarray(quantity, dtype=float)
    try:
        return np.asarray(u.Quantity(quantity).to_value(unit), dtype=float)
    except u.UnitConversionError as error:
        raise UnitsError(f"{where}: expected a quantity in {unit}, found {quantity.unit}") from error


class AxisBase:
    """Nodes, edges, coordinates and comparison of `MapAxis`, which adds ways to make axes."""

    def __init__(
        self,
        nodes: ArrayLike | u.Quantity,
        interp: str = "lin",
        name: str = "",
        node_type: str = "edges",
        unit: str | u.UnitBase = "",
    ) -> None:
        where = f"Axis {name!r}"
        if not isinstance(name, str):
            raise DataError(f"Axis name: expected a string, found {name!r}")
        if not isinstance(nodes, u.Quantity) and isinstance(nodes, Iterable):
            nodes = list(nodes)
            if nodes and isinstance(nodes[0], u.Quantity):
                nodes = u.Quantity(nodes)
        if isinstance(nodes, u.Quantity):
            if unit != "" and parse_unit(unit, where) != nodes.unit:
                raise UnitsError(f"{where}: nodes have the unit {nodes.unit}, but unit={unit!r} was given")
            unit, values = nodes.unit, nodes.value
        else:
            unit, values = parse_unit(unit, where), nodes
        try:
            values = np.array(values, dtype=float)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: expected numbers as nodes, found {nodes!r}") from error
        self._name = name
        self._unit = unit
        self._interp = scale.check_scale(interp, where)
        if node_type not in _NODE_TYPES:
            raise DataError(f"{where}: unknown node_type {node_type!r}, expected 'edges' or 'center'")
        self._node_type = node_type
        self._check_nodes(values, where)
        self._nodes = _freeze(values)
        self._edges = self._nodes if node_type == "edges" else self._edges_of_centers()

    def _check_nodes(self, values: NDArray[np.float64], where: str) -> None:
        minimum = 2 if self._node_type == "edges" else 1
        if values.ndim != 1 or len(values) < minimum:
            raise DataError(
                f"{where}: expected a list of at least {minimum} nodes, found shape {values.shape}"
            )
        if not np.all(np.isfinite(values)):
            raise DataError(f"{where}: nodes must be finite, found {values[~np.isfinite(values)][0]}")
        if self._interp == "log" and values[0] <= 0:
            raise DataError(f"{where}: a logarithmic axis must be positive, found {values[0]} {self._unit}")
        if self._interp == "sqrt" and values[0] < 0:
            raise DataError(f"{where}: a square root axis can't be negative, found {values[0]} {self._unit}")
        step = np.diff(values)
        if not np.all(step > 0):
            i = int(np.argmax(step <= 0))
            raise DataError(f"{where}: nodes must increase, found {values[i]} followed by {values[i + 1]}")

    def _edges_of_centers(self) -> NDArray[np.float64]:
        if len(self._nodes) == 1:
            # One point has no width: it gets one unit on its scale.
            pix = scale.forward(self._interp, self._nodes[0]) + np.array([-0.5, 0.5])
            return _freeze(scale.inverse(self._interp, pix))
        return _freeze(self._from_pix(np.arange(len(self._nodes) + 1) - 0.5))

    # Properties

    @property
    def name(self) -> str:
        """Name."""
        return self._name

    @property
    def unit(self) -> u.UnitBase:
        """Unit."""
        return self._unit

    @property
    def interp(self) -> str:
        """Scale: "lin", "log" or "sqrt"."""
        return self._interp

    @property
    def node_type(self) -> str:
        """What the nodes are: "edges" or "center"."""
        return self._node_type

    @property
    def nbin(self) -> int:
        """Number of bins."""
        return len(self._edges) - 1

    @cached_property
    def edges(self) -> u.Quantity:
        """Edges, shape (nbin + 1,)."""
        return _quantity(self._edges, self._unit)

    @property
    def edges_min(self) -> u.Quantity:
        """Lower edges, shape (nbin,)."""
        return self.edges[:-1]

    @property
    def edges_max(self) -> u.Quantity:
        """Upper edges, shape (nbin,)."""
        return self.edges[1:]

    @cached_property
    def edges_engine(self) -> NDArray[np.float64]:
        """Edges as a plain array in the engine's unit: TeV for energies, deg for angles."""
        return _freeze(self._edges * canonical_factor(self._unit))

    @cached_property
    def center_engine(self) -> NDArray[np.float64]:
        """Centres as a plain array in the engine's unit."""
        return _freeze(self._center * canonical_factor(self._unit))

    @cached_property
    def _center(self) -> NDArray[np.float64]:
        if self._node_type == "center":
            return self._nodes
        edges = scale.forward(self._interp, self._edges)
        return _freeze(scale.inverse(self._interp, 0.5 * (edges[:-1] + edges[1:])))

    @cached_property
    def center(self) -> u.Quantity:
        """Centres on the axis' own scale (for "log", the geometric mean), shape (nbin,)."""
        return _quantity(self._center, self._unit)

    @cached_property
    def bin_width(self) -> u.Quantity:
        """Widths, shape (nbin,)."""
        return _quantity(np.diff(self._edges), self._unit)

    @property
    def bounds(self) -> u.Quantity:
        """First and last edge, shape (2,)."""
        return self.edges[[0, -1]]

    @property
    def is_energy_axis(self) -> bool:
        """Whether it is an axis of (true or reconstructed) energy."""
        return self._name in {"energy", "energy_true"}

    @property
    def nbin_per_decade(self) -> int:
        """Number of bins per factor of ten, rounded."""
        return round(self.nbin / np.log10(self._edges[-1] / self._edges[0]))

    @property
    def iter_by_edges(self) -> Iterator[tuple[u.Quantity, u.Quantity]]:
        """Lower and upper edge of one bin after the other."""
        return zip(self.edges_min, self.edges_max, strict=True)

    # Coordinates

    def _from_pix(self, pix: ArrayLike) -> NDArray[np.float64]:
        shift = 0.5 if self._node_type == "edges" else 0.0
        if len(self._nodes) == 1:
            return scale.inverse(self._interp, scale.forward(self._interp, self._nodes[0]) + np.asarray(pix))
        nodes = scale.forward(self._interp, self._nodes)
        values = scale.interpolate(np.asarray(pix) + shift, np.arange(len(nodes), dtype=float), nodes)
        return scale.inverse(self._interp, values)

    def pix_to_coord(self, pix: ArrayLike) -> u.Quantity:
        """Return the coordinate of pixel coordinates: 0 is the first centre, -0.5 the first edge."""
        return _quantity(self._from_pix(pix), self._unit)

    def coord_to_pix(self, coord: ArrayLike | u.Quantity) -> NDArray[np.float64]:
        """Return pixel coordinates, the inverse of `pix_to_coord`; beyond the ends they go on."""
        values = scale.forward(self._interp, value_in(coord, self._unit, f"Axis {self._name!r}"))
        nodes = scale.forward(self._interp, self._nodes)
        if len(nodes) == 1:
            return values - nodes[0]
        shift = 0.5 if self._node_type == "edges" else 0.0
        return scale.interpolate(values, nodes, np.arange(len(nodes), dtype=float)) - shift

    def coord_to_idx(self, coord: ArrayLike | u.Quantity, clip: bool = False) -> NDArray[np.intp]:
        """Return the index of the bin that holds each coordinate.

        A bin holds its lower edge, the last one its upper edge too.

        Parameters
        ----------
        coord : `~astropy.units.Quantity` or array-like
            Coordinates.
        clip : bool
            Whether coordinates outside belong to the nearest bin; otherwise their index is -1. That of
            NaN is always -1.

        Examples
        --------
        >>> from villard.maps import MapAxis
        >>> MapAxis.from_edges([0, 1, 2], unit="deg").coord_to_idx([-1, 0, 1, 2, 3] * u.deg)
        array([-1,  0,  1,  1, -1])
        """
        values = value_in(coord, self._unit, f"Axis {self._name!r}")
        idx = np.searchsorted(self._edges, values, side="right") - 1
        idx = np.where(values == self._edges[-1], self.nbin - 1, idx)
        clipped = np.clip(idx, 0, self.nbin - 1)
        outside = np.isnan(values) if clip else (clipped != idx) | np.isnan(values)
        return np.where(outside, -1, clipped)

    def round(self, coord: ArrayLike | u.Quantity, clip: bool = False) -> u.Quantity:
        """Return the edge nearest to each coordinate (on the axis' scale).

        Parameters
        ----------
        coord : `~astropy.units.Quantity` or array-like
            Coordinates.
        clip : bool
            Whether coordinates outside give the first or last edge; otherwise NaN.
        """
        values = value_in(coord, self._unit, f"Axis {self._name!r}")
        edges = self._edges[self._nearest_edge(values)]
        lower, upper = self._edges[[0, -1]]
        outside = (values < lower - RTOL * abs(lower)) | (values > upper + RTOL * abs(upper))
        return _quantity(edges if clip else np.where(outside, np.nan, edges), self._unit)

    def _nearest_edge(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        edges = scale.forward(self._interp, self._edges)
        on_scale = scale.forward(self._interp, values)
        return np.searchsorted(0.5 * (edges[:-1] + edges[1:]), on_scale, side="right")

    # Plots

    @property
    def as_plot_unit(self) -> u.UnitBase:
        """Unit of the axis in plots: its own, but TeV for energies in keV that gamma rays have.

        OGIP files ask for keV, in which nobody reads a gamma-ray spectrum.
        """
        if self._unit == u.keV and self._edges[-1] >= 1e6:
            return u.TeV
        return self._unit

    @property
    def as_plot_center(self) -> u.Quantity:
        """Positions of points, in `as_plot_unit`."""
        return self.center.to(self.as_plot_unit)

    @property
    def as_plot_edges(self) -> u.Quantity:
        """Edges of steps, in `as_plot_unit`."""
        return self.edges.to(self.as_plot_unit)

    @property
    def as_plot_xerr(self) -> tuple[u.Quantity, u.Quantity]:
        """Distances from the centre to the lower and upper edge, for ``xerr``, in `as_plot_unit`."""
        unit = self.as_plot_unit
        return (self.center - self.edges_min).to(unit), (self.edges_max - self.center).to(unit)

    @property
    def as_plot_labels(self) -> list[str]:
        """One text per bin, in `as_plot_unit`."""
        edges = self.as_plot_edges.value
        return [f"{lo:.2e} - {hi:.2e} {self.as_plot_unit}".rstrip() for lo, hi in pairwise(edges)]

    @property
    def as_plot_scale(self) -> str:
        """Scale of matplotlib that fits."""
        return {"lin": "linear", "log": "log", "sqrt": "linear"}[self.interp]

    @property
    def as_plot_label(self) -> str:
        """Label like "Energy [TeV]"."""
        return label_with_unit(self.name, self.as_plot_unit)

    def format_plot_xaxis(self, ax: Axes) -> Axes:
        """Set scale and label of the x axis of a plot."""
        ax.set_xscale(self.as_plot_scale)
        ax.set_xlabel(self.as_plot_label)
        return ax

    def format_plot_yaxis(self, ax: Axes) -> Axes:
        """Set scale and label of the y axis of a plot."""
        ax.set_yscale(self.as_plot_scale)
        ax.set_ylabel(self.as_plot_label)
        return ax

    # Comparison and text

    def is_allclose(self, other: AxisBase, rtol: float = RTOL) -> bool:
        """Whether two axes have the same name, scale, node type and (nearly) the same nodes."""
        if not isinstance(other, AxisBase):
            return False
        if other is self:
            return True
        if (self._name.upper(), self._interp, self._node_type) != (
            other._name.upper(),
            other._interp,
            other._node_type,
        ):
            return False
        return self.is_aligned_with(other, rtol=rtol)

    def is_aligned_with(self, other: AxisBase, rtol: float = RTOL) -> bool:
        """Whether two axes have (nearly) the same edges, whatever their names."""
        if self.nbin != other.nbin:
            return False
        if self._unit is other._unit:
            edges = other._edges
        elif self._unit.is_equivalent(other._unit):
            edges = other.edges.to_value(self._unit)
        else:
            return False
        tolerance = rtol * np.maximum(np.abs(self._edges), np.min(np.diff(self._edges)))
        return bool(np.all(np.abs(self._edges - edges) <= tolerance))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AxisBase):
            return NotImplemented
        return self.is_allclose(other)

    def __hash__(self) -> int:
        # Equal axes may differ in the last digits and in unit, so neither can enter.
        return hash((self._name.upper(), self._interp, self._node_type, self.nbin))

    def __len__(self) -> int:
        return self.nbin

    def __repr__(self) -> str:
        unit = f" {self._unit}" if str(self._unit) else ""
        what, values = ("edges", self._edges) if self._node_type == "edges" else ("centres", self._nodes)
        return (
            f"MapAxis({self._name!r}, {self.nbin} bins, {what} {values[0]:.4g} to {values[-1]:.4g}{unit}, "
            f"interp={self._interp!r})"
        )

    def __str__(self) -> str:
        unit = f" {self._unit}" if str(self._unit) else ""
        rows = {
            "name": self._name,
            "unit": str(self._unit),
            "nbins": str(self.nbin),
            "node type": self._node_type,
            "edges min": f"{self._edges[0]:.3e}{unit}",
            "edges max": f"{self._edges[-1]:.3e}{unit}",
            "interp": self._interp,
        }
        return "MapAxis\n" + "".join(f"\n  {key:10s}: {value}" for key, value in rows.items()) + "\n"
