"""Maps of fluxes: what estimators find for a source, or an excess, at each pixel and in each energy bin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import astropy.units as u
import numpy as np

from villard.estimators.flux_quantities import MissingQuantityError
from villard.estimators.reference import EnergyBins, ReferenceSpectrum
from villard.estimators.sed_types import (
    PER_DATASET,
    PLAIN,
    SED_TYPES,
    SED_UNITS,
    SUFFIXES,
    check_sed_type,
    prefix_of,
)
from villard.exceptions import DataError
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.utils.names import nearest

__all__ = ["FluxMaps"]

_NORMS = tuple("norm" + suffix for suffix in SUFFIXES)
_COUNTS = ("npred_background", "acceptance_on", "acceptance_off", "alpha", "counts_off", "mask")
# Likelihood profiles, which have one more axis.
_PROFILES = ("stat_scan", "dnde_scan_values")
#: Names of what is kept.
KEPT = (*_NORMS, *PLAIN, *PER_DATASET, *_COUNTS, *_PROFILES)
_BOOLEAN = ("is_ul", "success", "mask")


class FluxMaps:
    """Maps of the flux of a source that is put at each pixel in turn, or of the excess around it.

    What was measured is kept as the *norm*: the ratio to a reference spectrum. Fluxes in all
    representations are norm times reference, as for `FluxPoints`: ``dnde`` and ``e2dnde`` at the middle
    of each energy bin, ``flux`` and ``eflux`` integrated over it; with errors (``flux_err``,
    ``flux_errn``, ``flux_errp``) and upper limits (``flux_ul``). Each is a map with the axis "energy",
    and both an attribute and an item: ``maps.flux_ul``, ``maps["flux_ul"]``.

    Parameters
    ----------
    data : dict of str to `~villard.maps.WcsNDMap`
        Maps of the same geometry, with the axis "energy"; their names are those of the quantities. Fluxes
        need ``norm``.
    reference_model : `~villard.modeling.models.SkyModel` or spectral model, optional
        Spectrum that norms refer to; a power law of index 2 by default.
    meta : dict, optional
        ``n_sigma`` and ``n_sigma_ul``: confidence of errors and limits; anything else is kept.
    gti : `~villard.data.GTI`, optional
        Good time intervals, kept as they are.
    filter_success_nan : bool
        Whether norms of failed fits (``success`` false) are given as NaN.

    Raises
    ------
    DataError
        If a quantity is unknown, or maps differ in their geometry.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    >>> geom = WcsGeom.create(npix=2, binsz=0.1, axes=[axis])
    >>> norm = WcsNDMap(geom, data=np.full(geom.data_shape, 3.0))
    >>> maps = FluxMaps({"norm": norm, "norm_err": 0.5 * norm})
    >>> maps.flux.quantity[0, 0].round(14)
    <Quantity [2.7e-12, 2.7e-12] 1 / (s cm2)>
    >>> maps["dnde_err"].unit
    Unit("1 / (TeV s cm2)")
    """

    tag = "FluxMaps"

    def __init__(
        self,
        data: Mapping[str, WcsNDMap],
        reference_model: Any = None,
        meta: Mapping[str, Any] | None = None,
        gti: Any = None,
        filter_success_nan: bool = True,
    ) -> None:
        if not data:
            raise DataError(f"{self.tag}: expected at least one map")
        for name, item in data.items():
            if name not in KEPT:
                raise DataError(f"{self.tag}: unknown quantity {name!r}. {nearest(name, KEPT)}")
            names = item.geom.axes.names if isinstance(item, WcsNDMap) else []
            if "energy" not in names or (len(names) > 1 and name not in _PROFILES):
                raise DataError(
                    f"{self.tag}: expected {name} as a map with the axis 'energy', found {item!r}"
                )
        first = next((name for name in data if name not in _PROFILES), None)
        if first is None:
            raise DataError(f"{self.tag}: expected more than profiles, found {', '.join(data)}")
        self._geom = data[first].geom
        for name, item in data.items():
            if item.geom.to_image().to_cube([item.geom.axes["energy"]]) != self._geom:
                raise DataError(f"{self.tag}: {name} has another geometry than {first}: {item.geom!r}")
        self._data = dict(data)
        self._reference = ReferenceSpectrum.from_model(
            reference_model, EnergyBins.from_axis(self._geom.axes["energy"])
        )
        self.meta: dict[str, Any] = dict(meta or {})
        self.gti = gti
        self.filter_success_nan = filter_success_nan

    @classmethod
    def from_maps(
        cls,
        maps: Mapping[str, WcsNDMap],
        sed_type: str = "likelihood",
        reference_model: Any = None,
        gti: Any = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make flux maps from maps in one representation.

        Parameters
        ----------
        maps : dict of str to `~villard.maps.WcsNDMap`
            Maps, such as ``flux`` and ``flux_err`` for the type "flux", with their units.
        sed_type : {"likelihood", "dnde", "e2dnde", "flux", "eflux"}
            Representation.
        reference_model, gti, meta
            As for the class.

        Raises
        ------
        DataError
            If the maps don't have the quantity of the type.
        UnitsError
            If a unit doesn't fit.
        """
        from villard.estimators.flux_maps_io import to_norms

        prefix = prefix_of(check_sed_type(sed_type, cls.tag))
        if prefix not in maps:
            raise DataError(f"{cls.tag}: expected a map {prefix!r}, found {', '.join(maps) or 'none'}")
        return cls(to_norms(dict(maps), sed_type, reference_model, cls.tag), reference_model, meta, gti)

    # Geometry and reference

    @property
    def geom(self) -> WcsGeom:
        """Geometry of the maps."""
        return self._geom

    @property
    def energy_axis(self) -> MapAxis:
        """Energy bins."""
        return self._geom.axes["energy"]

    @property
    def energy_ref(self) -> u.Quantity:
        """Energies at which differential fluxes are given, shape (n,)."""
        return self.energy_axis.center

    @property
    def energy_min(self) -> u.Quantity:
        """Lower edges of the bins, shape (n,)."""
        return self.energy_axis.edges_min

    @property
    def energy_max(self) -> u.Quantity:
        """Upper edges of the bins, shape (n,)."""
        return self.energy_axis.edges_max

    @property
    def reference_model(self) -> Any:
        """Model that norms refer to; a copy of the one given."""
        return self._reference.model

    @property
    def reference_spectral_model(self) -> Any:
        """Spectrum of `reference_model`."""
        return self._reference.model.spectral_model

    def reference(self, sed_type: str) -> u.Quantity:
        """Return the flux of the reference spectrum in each energy bin, shape (n, 1, 1)."""
        check_sed_type(sed_type, self.tag)
        return self._reference.values(sed_type).reshape(-1, 1, 1) * SED_UNITS[sed_type]

    dnde_ref = property(lambda self: self.reference("dnde"), doc="Reference dnde, (n, 1, 1).")
    e2dnde_ref = property(lambda self: self.reference("e2dnde"), doc="Reference e2dnde, (n, 1, 1).")
    flux_ref = property(lambda self: self.reference("flux"), doc="Reference flux, (n, 1, 1).")
    eflux_ref = property(lambda self: self.reference("eflux"), doc="Reference eflux, (n, 1, 1).")

    @property
    def n_sigma(self) -> float:
        """Number of standard deviations of errors."""
        return float(self.meta.get("n_sigma", 1))

    @property
    def n_sigma_ul(self) -> float | None:
        """Number of standard deviations of upper limits, if it is known."""
        return self.meta.get("n_sigma_ul")

    @property
    def sqrt_ts_threshold_ul(self) -> float:
        """Significance below which a flux is taken as an upper limit."""
        return float(self.meta.get("sqrt_ts_threshold_ul", 2))

    # Quantities

    @property
    def available_quantities(self) -> list[str]:
        """Names of what is kept."""
        return list(self._data)

    def has(self, name: str) -> bool:
        """Whether a quantity is kept or follows from what is kept."""
        try:
            self[name]
        except DataError:
            return False
        return True

    def __getitem__(self, name: str) -> WcsNDMap:
        if name in self._data:
            item = self._data[name]
            failed = self._failed() if name in _NORMS else None
            return item if failed is None else item.copy(data=np.where(failed, np.nan, item.data))
        if name == "sqrt_ts":
            return self._sqrt_ts()
        if name == "ts" and {"stat", "stat_null"} <= set(self._data):
            return self._data["stat_null"] - self._data["stat"]
        if name == "is_ul":
            return self._is_ul()
        for sed_type in SED_TYPES[1:]:
            suffix = name.removeprefix(sed_type)
            if name.startswith(sed_type) and suffix in SUFFIXES and "norm" + suffix in self._data:
                norm = self["norm" + suffix]
                return norm.copy(data=norm.data * self.reference(sed_type).value, unit=SED_UNITS[sed_type])
        raise MissingQuantityError(
            f"{self.tag}: there is no quantity {name!r}. {nearest(name, self._data)}, and what follows from "
            "these"
        )

    def __getattr__(self, name: str) -> WcsNDMap:
        # Private names too would be sought in dictionaries that aren't made yet, as in copies.
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __dir__(self) -> list[str]:
        derived = [t + s for t in SED_TYPES[1:] for s in SUFFIXES if "norm" + s in self._data]
        return sorted({*super().__dir__(), *self._data, *derived, "sqrt_ts", "is_ul"})

    def _failed(self) -> Any:
        if not self.filter_success_nan or "success" not in self._data:
            return None
        failed = ~self._data["success"].data.astype(bool)
        return failed if failed.any() else None

    def _sqrt_ts(self) -> WcsNDMap:
        if not {"norm", "npred_excess"} & set(self._data):
            raise MissingQuantityError(f"{self.tag}: sqrt_ts needs the norm, for its sign")
        ts = self["ts"]
        excess = self._data["norm" if "norm" in self._data else "npred_excess"].data
        root = np.sqrt(np.maximum(ts.data, 0.0))
        return ts.copy(data=np.where(excess < 0, -root, root))

    def _is_ul(self) -> WcsNDMap:
        if not self.has("norm_ul"):
            return WcsNDMap(self._geom, dtype=bool)
        limit = np.isfinite(self["norm_ul"].data)
        if self.has("sqrt_ts"):
            limit &= ~(self["sqrt_ts"].data >= self.sqrt_ts_threshold_ul)
        return WcsNDMap(self._geom, data=limit)

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    # Other forms

    def to_maps(self, sed_type: str = "likelihood") -> dict[str, WcsNDMap]:
        """Return all maps, the fluxes in one representation.

        Parameters
        ----------
        sed_type : {"likelihood", "dnde", "e2dnde", "flux", "eflux"}
            Representation; "likelihood" is the norm.
        """
        prefix = prefix_of(check_sed_type(sed_type, self.tag))
        names = [prefix + name.removeprefix("norm") if name in _NORMS else name for name in self._data]
        return {name: self[name] for name in names}

    def get_flux_points(self, position: Any = None) -> Any:
        """Return the flux points at the pixel nearest to a direction.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord`, optional
            Direction; the centre of the maps by default.

        Returns
        -------
        `~villard.estimators.FluxPoints`
            One point per energy bin.

        Raises
        ------
        DataError
            If the direction is outside, or there is no norm.
        """
        from villard.estimators.flux_points import FluxPoints

        if "norm" not in self._data:
            raise DataError(f"{self.tag}: flux points need the norm; there are {', '.join(self._data)}")
        position = self._geom.center_skydir if position is None else position
        if not bool(self._geom.to_image().contains(position)):
            raise DataError(f"{self.tag}: the direction {position.to_string('decimal')} is outside the maps")
        x, y = (int(np.floor(value + 0.5)) for value in self._geom.skydir_to_pix(position))
        arrays = {
            name: item.data[:, y, x].astype(bool if name in _BOOLEAN else float)
            for name, item in self._data.items()
            if name not in (*_COUNTS, *_PROFILES)
        }
        for name in PER_DATASET:
            if name in arrays:
                arrays[name] = arrays[name][:, np.newaxis]
        energies = EnergyBins.from_axis(self.energy_axis)
        return FluxPoints._make(energies, arrays, self._reference, "likelihood", self.meta, self.gti)

    def write(
        self, filename: str | os.PathLike[str], sed_type: str = "likelihood", overwrite: bool = False
    ) -> None:
        """Write the maps to a FITS file, and the reference model to a YAML file of the same name.

        The layout is Gammapy's: an image for each quantity, and ``<filename>_model.yaml``.

        Parameters
        ----------
        filename : str or path-like
            File; ``$VAR`` is expanded.
        sed_type : {"likelihood", "dnde", "e2dnde", "flux", "eflux"}
            Representation of fluxes.
        overwrite : bool
            Whether existing files may be replaced.
        """
        from villard.estimators.flux_maps_io import write_maps

        write_maps(self, filename, sed_type, overwrite)

    @classmethod
    def read(cls, filename: str | os.PathLike[str]) -> Self:
        """Read maps from a FITS file, and the reference model that it names.

        Parameters
        ----------
        filename : str or path-like
            File written by `write` or by Gammapy.

        Raises
        ------
        FileFormatError
            If the file is damaged, or holds no such maps.
        """
        from villard.estimators.flux_maps_io import read_maps

        return cls(**read_maps(filename))

    def __repr__(self) -> str:
        return f"{self.tag}({self._geom!r}, {', '.join(self._data)})"

    def __str__(self) -> str:
        spectrum = type(self.reference_spectral_model).__name__
        assumed = " (assumed)" if self._reference.assumed else ""
        energy = self.energy_axis.edges
        rows = {
            "Geometry": repr(self._geom),
            "Energies": f"{energy[0].value:.4g} to {energy[-1].value:.4g} {energy.unit} "
            f"in {self.energy_axis.nbin} bins",
            "Quantities": ", ".join(self._data),
            "Reference model": f"{spectrum}{assumed}",
            "Errors": f"{self.n_sigma:g} sigma",
            "Upper limits": "none" if "norm_ul" not in self._data else f"{self.n_sigma_ul or '?'} sigma",
        }
        return f"{self.tag}\n" + "".join(f"\n  {key:16s}: {value}" for key, value in rows.items()) + "\n"
