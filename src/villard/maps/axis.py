"""Binned axes: energy, offset, migration and the like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError, UnitsError
from villard.maps import scale
from villard.maps.axis_base import RTOL, AxisBase, value_in
from villard.utils.units import parse_unit

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

__all__ = ["RTOL", "MapAxis", "value_in"]


class MapAxis(AxisBase):
    """Axis made of adjacent bins; it can't be changed after it is made.

    Parameters
    ----------
    nodes : array-like or `~astropy.units.Quantity`
        Strictly increasing values: the n + 1 bin edges, or the n centres.
    interp : {"lin", "log", "sqrt"}
        Scale on which centres lie half way between the edges, and values are interpolated.
    name : str
        Name; "energy" for reconstructed and "energy_true" for true energies.
    node_type : {"edges", "center"}
        What the nodes are. With "center", edges lie half way between the nodes.
    unit : str or `~astropy.units.UnitBase`
        Unit of the nodes, if they are plain numbers.

    Raises
    ------
    DataError
        If nodes are not finite and increasing, or don't fit the scale.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    >>> axis.edges
    <Quantity [  1.,  10., 100.] TeV>
    >>> axis.center
    <Quantity [ 3.16227766, 31.6227766 ] TeV>
    """

    # Constructors

    @classmethod
    def from_edges(cls, edges: ArrayLike | u.Quantity, **kwargs: Any) -> MapAxis:
        """Make an axis of bins with these edges; keywords as for `MapAxis`."""
        return cls(edges, node_type="edges", **kwargs)

    @classmethod
    def from_nodes(cls, nodes: ArrayLike | u.Quantity, **kwargs: Any) -> MapAxis:
        """Make an axis with these bin centres; keywords as for `MapAxis`."""
        return cls(nodes, node_type="center", **kwargs)

    @classmethod
    def from_bounds(cls, lo_bnd: float, hi_bnd: float, nbin: int, **kwargs: Any) -> MapAxis:
        """Make an axis of ``nbin`` bins, evenly spaced on its scale, between two bounds.

        Parameters
        ----------
        lo_bnd, hi_bnd : float or `~astropy.units.Quantity`
            Bounds: first and last edge, or first and last centre for ``node_type="center"``.
        nbin : int
            Number of bins.
        **kwargs
            As for `MapAxis`.

        Examples
        --------
        >>> MapAxis.from_bounds(0, 3, 3, unit="deg", name="offset").edges
        <Quantity [0., 1., 2., 3.] deg>
        """
        interp = scale.check_scale(kwargs.get("interp", "lin"), f"Axis {kwargs.get('name', '')!r}")
        if int(nbin) != nbin or nbin < 1:
            raise DataError(f"Axis {kwargs.get('name', '')!r}: expected at least one bin, found nbin={nbin}")
        unit = getattr(lo_bnd, "unit", getattr(hi_bnd, "unit", parse_unit(kwargs.pop("unit", ""))))
        bounds = [float(value_in(bound, unit, "Axis bound")) for bound in (lo_bnd, hi_bnd)]
        n = int(nbin) + (kwargs.get("node_type", "edges") == "edges")
        on_scale = scale.forward(interp, bounds)
        if not np.all(np.isfinite(on_scale)):
            raise DataError(f"Bounds {bounds} {unit} don't fit the scale {interp!r}")
        if interp == "log":
            # The same as below, but through powers of ten, so that 1 between 0.1 and 10 is exact.
            nodes = np.geomspace(bounds[0], bounds[1], n)
        else:
            nodes = scale.inverse(interp, np.linspace(on_scale[0], on_scale[1], n))
        nodes[0] = bounds[0]
        if n > 1:
            nodes[-1] = bounds[1]
        return cls(nodes, unit=unit, **kwargs)

    @classmethod
    def from_energy_edges(
        cls,
        energy_edges: ArrayLike | u.Quantity,
        unit: str | u.UnitBase | None = None,
        name: str | None = None,
        interp: str = "log",
    ) -> MapAxis:
        """Make an energy axis of bins with these edges.

        Parameters
        ----------
        energy_edges : `~astropy.units.Quantity` or array-like
            Edges.
        unit : str or `~astropy.units.UnitBase`, optional
            Unit that the axis will have; needed if the edges are plain numbers.
        name : str, optional
            Name, "energy" by default.
        interp : str
            Scale.
        """
        name = "energy" if name is None else name
        if isinstance(energy_edges, (list, tuple)):
            energy_edges = u.Quantity(energy_edges, unit)
        edges = energy_edges if isinstance(energy_edges, u.Quantity) else u.Quantity(energy_edges, unit)
        if not edges.unit.is_equivalent(u.TeV):
            raise UnitsError(f"Axis {name!r}: expected edges with a unit of energy, found {edges.unit!r}")
        if unit is not None:
            edges = edges.to(parse_unit(unit))
        return cls(edges, interp=interp, name=name, node_type="edges")

    @classmethod
    def from_energy_bounds(
        cls,
        energy_min: str | u.Quantity | float,
        energy_max: str | u.Quantity | float,
        nbin: int,
        unit: str | u.UnitBase | None = None,
        per_decade: bool = False,
        name: str | None = None,
    ) -> MapAxis:
        """Make an energy axis with logarithmic bins of equal width.

        Parameters
        ----------
        energy_min, energy_max : `~astropy.units.Quantity`, str or float
            First and last edge.
        nbin : int
            Number of bins, or of bins per decade (then rounded up to whole bins).
        unit : str or `~astropy.units.UnitBase`, optional
            Unit that the axis will have; that of ``energy_min`` by default.
        per_decade : bool
            Whether ``nbin`` counts per decade.
        name : str, optional
            Name, "energy" by default.

        Examples
        --------
        >>> MapAxis.from_energy_bounds("100 GeV", "10 TeV", nbin=5, per_decade=True).nbin
        10
        """
        name = "energy" if name is None else name
        energy_min, energy_max = u.Quantity(energy_min, unit), u.Quantity(energy_max, unit)
        if not (energy_min.unit.is_equivalent(u.TeV) and energy_max.unit.is_equivalent(u.TeV)):
            raise UnitsError(
                f"Axis {name!r}: expected bounds with a unit of energy, found {energy_min} and {energy_max}"
            )
        lo, hi = energy_min.value, float(energy_max.to_value(energy_min.unit))
        if not 0 < lo < hi:
            raise DataError(
                f"Axis {name!r}: expected 0 < energy_min < energy_max, found {energy_min}, {energy_max}"
            )
        if per_decade:
            nbin = int(np.ceil(np.log10(hi / lo) * nbin - 1e-9))
        return cls.from_bounds(energy_min, energy_max, nbin, interp="log", name=name)

    @classmethod
    def from_stack(cls, axes: Iterable[MapAxis]) -> MapAxis:
        """Join axes of which each begins where the one before ends."""
        axes = list(axes)
        result = axes[0]
        for axis in axes[1:]:
            result = result.concatenate(axis)
        return result

    @classmethod
    def from_table(cls, table: Table, format: str = "ogip", idx: int = 0) -> MapAxis:
        """Make an axis from a table; the inverse of `to_table`.

        Parameters
        ----------
        table : `~astropy.table.Table`
            Table.
        format : {"ogip", "ogip-sherpa", "ogip-arf", "gadf", "gadf-dl3"}
            Layout, see `to_table`.
        idx : int
            Number of the axis, for the layouts that hold several.

        Raises
        ------
        FileFormatError
            If columns are missing or bins are not adjacent.
        """
        from villard.maps.axis_io import axis_from_table

        return axis_from_table(table, format=format, idx=idx)

    @classmethod
    def from_table_hdu(cls, hdu: fits.BinTableHDU, format: str = "ogip", idx: int = 0) -> MapAxis:
        """Make an axis from a FITS table; the inverse of `to_table_hdu`."""
        from astropy.table import Table

        return cls.from_table(Table.read(hdu), format=format, idx=idx)

    # Derived axes

    def _new(self, nodes: NDArray[np.float64], **kwargs: Any) -> MapAxis:
        arguments = {"interp": self._interp, "name": self._name, "node_type": self._node_type} | kwargs
        return MapAxis(nodes, unit=self._unit, **arguments)

    def copy(self, **kwargs: Any) -> MapAxis:
        """Return a copy in which the named arguments of `MapAxis` are replaced."""
        arguments = {
            "nodes": self._nodes,
            "interp": self._interp,
            "name": self._name,
            "node_type": self._node_type,
            "unit": self._unit,
        }
        return MapAxis(**(arguments | kwargs))

    def rename(self, new_name: str) -> MapAxis:
        """Return the axis under another name."""
        return self.copy(name=new_name)

    def to_unit(self, unit: str | u.UnitBase) -> MapAxis:
        """Return the axis in another unit."""
        return self.copy(nodes=value_in(self._nodes * self._unit, parse_unit(unit), self._name), unit=unit)

    def to_node_type(self, node_type: str) -> MapAxis:
        """Return an axis with the same centres or edges as nodes."""
        if node_type == self._node_type:
            return self
        return self._new(self._edges if node_type == "edges" else self._center, node_type=node_type)

    def slice(self, idx: slice | int) -> MapAxis:
        """Return the axis of some adjacent bins.

        Parameters
        ----------
        idx : slice or int
            Bins; a slice can't have a step.
        """
        if not isinstance(idx, slice):
            first = range(self.nbin)[idx]
            idx = slice(first, first + 1)
        start, stop, step = idx.indices(self.nbin)
        if step != 1 or stop <= start:
            raise DataError(f"Axis {self._name!r}: expected adjacent bins out of {self.nbin}, found {idx}")
        last = stop + 1 if self._node_type == "edges" else stop
        return self._new(self._nodes[start:last])

    def squash(self) -> MapAxis:
        """Return an axis of one bin with the same bounds."""
        return self._new(self._edges[[0, -1]], node_type="edges")

    def pad(self, pad_width: int | tuple[int, int]) -> MapAxis:
        """Return the axis with bins added below and above, spaced like the first and last."""
        below, above = (pad_width, pad_width) if isinstance(pad_width, int) else pad_width
        n, shift = len(self._nodes), 0.5 if self._node_type == "edges" else 0.0
        nodes = self._from_pix(np.arange(-below, n + above) - shift)
        nodes[below : below + n] = self._nodes
        return self._new(nodes)

    def upsample(self, factor: int) -> MapAxis:
        """Return the axis with each bin split in ``factor`` parts, equal on its scale."""
        _check_factor(factor)
        if self._node_type == "center":
            return self._new(self._from_pix((np.arange(self.nbin * factor) + 0.5) / factor - 0.5))
        nodes = self._from_pix(np.arange(self.nbin * factor + 1) / factor - 0.5)
        nodes[::factor] = self._nodes
        return self._new(nodes)

    def downsample(self, factor: int) -> MapAxis:
        """Return the axis with each ``factor`` bins joined."""
        _check_factor(factor)
        if self.nbin % factor:
            raise DataError(f"Axis {self._name!r}: {self.nbin} bins can't be joined in groups of {factor}")
        if self._node_type == "center":
            return self._new(self._from_pix((np.arange(self.nbin // factor) + 0.5) * factor - 0.5))
        return self._new(self._nodes[::factor])

    def concatenate(self, axis: MapAxis) -> MapAxis:
        """Return this axis followed by another one, which begins where this one ends."""
        nodes = value_in(axis._nodes * axis.unit, self._unit, f"Axis {axis.name!r}")
        if (axis.name, axis.interp, axis.node_type) != (self._name, self._interp, self._node_type):
            raise DataError(f"Axes {self._name!r} and {axis.name!r} differ in name, interp or node_type")
        if self._node_type == "edges":
            if not np.isclose(self._nodes[-1], nodes[0], rtol=RTOL, atol=0):
                raise DataError(
                    f"Axis {self._name!r} ends at {self.edges[-1]}, "
                    f"but the one to be joined begins at {axis.edges[0]}"
                )
            nodes = nodes[1:]
        return self._new(np.concatenate([self._nodes, nodes]))

    def group_edges(self, edges: ArrayLike | u.Quantity) -> NDArray[np.intp]:
        """Return the indices of this axis' edges nearest to the given ones, each once.

        Parameters
        ----------
        edges : `~astropy.units.Quantity`
            Increasing edges of the wanted groups.

        Raises
        ------
        DataError
            If less than two are left, that is no bin lies between them.
        """
        values = np.atleast_1d(value_in(edges, self._unit, f"Axis {self._name!r}"))
        idx = np.unique(self._nearest_edge(values))
        if len(idx) < 2:
            raise DataError(
                f"Axis {self._name!r} from {self.edges[0]:.4g} to {self.edges[-1]:.4g} has no bin "
                f"between the edges {values[0]:.4g} and {values[-1]:.4g} {self._unit}"
            )
        return idx

    def group_table(self, energy_edges: ArrayLike | u.Quantity) -> Table:
        """Return which bins are joined to make bins with the given edges.

        Edges are moved to the nearest ones of this axis. Bins below and above are groups of the
        types "underflow" and "overflow".

        Parameters
        ----------
        energy_edges : `~astropy.units.Quantity`
            Wanted edges.

        Returns
        -------
        `~astropy.table.Table`
            Columns ``group_idx``, ``energy_min``, ``energy_max``, ``idx_min``, ``idx_max`` (inclusive),
            ``bin_type`` ("normal", "underflow" or "overflow").

        Examples
        --------
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=4)
        >>> axis.group_table([2.1, 8] * u.TeV)["idx_min", "idx_max", "bin_type"].pprint()
        idx_min idx_max  bin_type
        ------- ------- ---------
              0       0 underflow
              1       2    normal
              3       3  overflow
        """
        from astropy.table import QTable, Table

        idx = self.group_edges(energy_edges)
        kinds = ["normal"] * (len(idx) - 1)
        if idx[0] > 0:
            idx, kinds = np.insert(idx, 0, 0), ["underflow", *kinds]
        if idx[-1] < self.nbin:
            idx, kinds = np.append(idx, self.nbin), [*kinds, "overflow"]
        name = "energy" if self.is_energy_axis else self._name
        table = QTable({"group_idx": np.arange(len(kinds))})
        table[f"{name}_min"], table[f"{name}_max"] = self.edges[idx[:-1]], self.edges[idx[1:]]
        table["idx_min"], table["idx_max"], table["bin_type"] = idx[:-1], idx[1:] - 1, kinds
        return Table(table)

    def resample(self, axis: MapAxis) -> MapAxis:
        """Return an axis of bins joined so that they are nearest to those of another axis."""
        return self._new(self._edges[self.group_edges(axis.edges)], node_type="edges")

    def to_table(self, format: str = "ogip") -> Table:
        """Return the axis as a table.

        Parameters
        ----------
        format : {"ogip", "ogip-sherpa", "ogip-arf", "gadf", "gadf-dl3"}
            Layout: ``CHANNEL, E_MIN, E_MAX`` of an EBOUNDS extension (channels from 0); the same in keV;
            ``ENERG_LO, ENERG_HI`` of an ARF or RMF; a BANDS extension; one row of ``…_LO`` and ``…_HI``
            arrays.
        """
        from villard.maps.axis_io import axis_to_table

        return axis_to_table(self, format)

    def to_table_hdu(self, format: str = "ogip") -> fits.BinTableHDU:
        """Return the axis as a FITS table; for the formats see `to_table`."""
        from astropy.io import fits

        hdu = fits.BinTableHDU(self.to_table(format))
        hdu.name = "EBOUNDS" if format.startswith("ogip") else f"{self._name}_BANDS".upper()
        return hdu


def _check_factor(factor: int) -> None:
    if not isinstance(factor, (int, np.integer)) or factor < 1:
        raise DataError(f"Expected a whole factor of at least 1, found {factor!r}")
