"""Quantities of flux points: what is kept, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, overload

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.estimators.reference import EnergyBins, ReferenceSpectrum
from villard.estimators.sed_types import (
    PER_DATASET,
    PLAIN,
    PROFILES,
    SED_TYPES,
    SED_UNITS,
    SUFFIXES,
    check_sed_type,
    prefix_of,
    quantity_names,
)
from villard.exceptions import DataError
from villard.maps import MapAxis, RegionGeom, RegionNDMap

__all__ = ["FluxQuantities", "MissingQuantityError"]

Array = NDArray[Any]


class MissingQuantityError(DataError, AttributeError):
    """Flux points don't have a quantity; an `AttributeError` too, so that ``hasattr`` works."""


class _Quantity:
    """Attribute that gives a quantity as a map."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> _Quantity: ...
    @overload
    def __get__(self, instance: FluxQuantities, owner: type) -> RegionNDMap: ...

    def __get__(self, instance: FluxQuantities | None, owner: type) -> _Quantity | RegionNDMap:
        return self if instance is None else instance.get_map(self._name)


class FluxQuantities:
    """Energies, norms, reference and the fluxes they make; base of `FluxPoints`."""

    def _set(
        self,
        energies: EnergyBins,
        arrays: dict[str, Array],
        reference: ReferenceSpectrum,
        sed_type_init: str,
        meta: Mapping[str, Any] | None,
        gti: Any,
        filter_success_nan: bool = True,
        extra: dict[str, Any] | None = None,
    ) -> None:
        known = set(quantity_names("likelihood"))
        for name, values in arrays.items():
            if name not in known:
                raise DataError(f"Flux points: unknown quantity {name!r}, expected one of {sorted(known)}")
            if len(values) != len(energies.ref):
                raise DataError(
                    f"Flux points: expected {len(energies.ref)} values of {name!r}, found {len(values)}"
                )
        self._energies = energies
        self._arrays = arrays
        self._reference = reference
        self._sed_type_init = sed_type_init
        self._extra = dict(extra or {})
        self.meta: dict[str, Any] = dict(meta or {})
        self.gti = gti
        self.filter_success_nan = filter_success_nan

    @classmethod
    def _make(cls, *args: Any, **kwargs: Any) -> Self:
        new = cls.__new__(cls)
        new._set(*args, **kwargs)
        return new

    # Energies

    @property
    def energy_axis(self) -> MapAxis:
        """Energy axis: of the bins, or of the points where bins have gaps or aren't known."""
        return self._energies.axis

    @property
    def geom(self) -> RegionGeom:
        """Geometry of the quantities with one number per energy."""
        return self._energies.geom

    @property
    def energy_ref(self) -> u.Quantity:
        """Energies at which differential fluxes are given, shape (n,)."""
        return self._energies.ref * self._energies.unit

    @property
    def energy_min(self) -> u.Quantity:
        """Lower edges of the bins; half way between the points where bins aren't known. Shape (n,)."""
        low = self._energies.min
        return self.energy_axis.edges_min if low is None else low * self._energies.unit

    @property
    def energy_max(self) -> u.Quantity:
        """Upper edges of the bins; half way between the points where bins aren't known. Shape (n,)."""
        high = self._energies.max
        return self.energy_axis.edges_max if high is None else high * self._energies.unit

    @property
    def is_convertible_to_flux_sed_type(self) -> bool:
        """Whether the bins are known, so that integral fluxes can be given."""
        return self._energies.min is not None

    # Reference

    @property
    def reference_model(self) -> Any:
        """Model that norms refer to; a copy of the one given, so that later fits don't change it."""
        return self._reference.model

    @property
    def reference_spectral_model(self) -> Any:
        """Spectrum of `reference_model`."""
        return self.reference_model.spectral_model

    def reference(self, sed_type: str) -> u.Quantity:
        """Return the flux of the reference spectrum at each point, shape (n,)."""
        check_sed_type(sed_type)
        return self._reference.values(sed_type) * SED_UNITS[sed_type]

    dnde_ref = property(
        lambda self: self.reference("dnde").reshape(-1, 1, 1), doc="Reference dnde, (n, 1, 1)."
    )
    e2dnde_ref = property(
        lambda self: self.reference("e2dnde").reshape(-1, 1, 1), doc="Reference e2dnde, (n, 1, 1)."
    )
    flux_ref = property(
        lambda self: self.reference("flux").reshape(-1, 1, 1), doc="Reference flux, (n, 1, 1)."
    )
    eflux_ref = property(
        lambda self: self.reference("eflux").reshape(-1, 1, 1), doc="Reference eflux, (n, 1, 1)."
    )

    # Quantities

    norm = _Quantity("Flux in units of the reference.")
    norm_err = _Quantity("Symmetric error of the norm.")
    norm_errn = _Quantity("Lower error of the norm, positive.")
    norm_errp = _Quantity("Upper error of the norm.")
    norm_ul = _Quantity("Upper limit of the norm.")
    norm_sensitivity = _Quantity("Norm that would just be detected.")
    dnde = _Quantity("Differential flux at `energy_ref`.")
    dnde_err = _Quantity("Symmetric error of `dnde`.")
    dnde_errn = _Quantity("Lower error of `dnde`, positive.")
    dnde_errp = _Quantity("Upper error of `dnde`.")
    dnde_ul = _Quantity("Upper limit of `dnde`.")
    dnde_sensitivity = _Quantity("Sensitivity as `dnde`.")
    e2dnde = _Quantity("Differential flux times energy squared.")
    e2dnde_err = _Quantity("Symmetric error of `e2dnde`.")
    e2dnde_errn = _Quantity("Lower error of `e2dnde`, positive.")
    e2dnde_errp = _Quantity("Upper error of `e2dnde`.")
    e2dnde_ul = _Quantity("Upper limit of `e2dnde`.")
    e2dnde_sensitivity = _Quantity("Sensitivity as `e2dnde`.")
    flux = _Quantity("Integral flux in the bins.")
    flux_err = _Quantity("Symmetric error of `flux`.")
    flux_errn = _Quantity("Lower error of `flux`, positive.")
    flux_errp = _Quantity("Upper error of `flux`.")
    flux_ul = _Quantity("Upper limit of `flux`.")
    flux_sensitivity = _Quantity("Sensitivity as `flux`.")
    eflux = _Quantity("Integral energy flux in the bins.")
    eflux_err = _Quantity("Symmetric error of `eflux`.")
    eflux_errn = _Quantity("Lower error of `eflux`, positive.")
    eflux_errp = _Quantity("Upper error of `eflux`.")
    eflux_ul = _Quantity("Upper limit of `eflux`.")
    eflux_sensitivity = _Quantity("Sensitivity as `eflux`.")
    ts = _Quantity("Test statistic: statistic without the source minus that of the best fit.")
    sqrt_ts = _Quantity("Square root of `ts` with the sign of the norm: significance of the flux.")
    stat = _Quantity("Fit statistic, -2 ln L, of the best fit.")
    stat_null = _Quantity("Fit statistic without the source.")
    is_ul = _Quantity("Whether a point is to be taken as an upper limit.")
    success = _Quantity("Whether the fit of the point succeeded.")
    niter = _Quantity("Number of iterations of the fit.")
    n_dof = _Quantity("Degrees of freedom of the fit.")
    counts = _Quantity("Counts per dataset, shape (n, n_datasets, 1, 1).")
    npred = _Quantity("Predicted counts per dataset, shape (n, n_datasets, 1, 1).")
    npred_excess = _Quantity("Predicted counts of the source per dataset, shape (n, n_datasets, 1, 1).")
    stat_scan = _Quantity("Fit statistic along values of the norm, shape (n, n_norm, 1, 1).")

    @property
    def norm_scan(self) -> NDArray[np.float64]:
        """Norms of the likelihood profiles, shape (n, n_norm); they may differ from bin to bin."""
        return self._values("norm_scan")

    @property
    def available_quantities(self) -> list[str]:
        """Names of the quantities that were given, in the representation of the norm."""
        return list(self._arrays)

    @staticmethod
    def all_quantities(sed_type: str) -> list[str]:
        """Return the names of all quantities that flux points can have in a representation."""
        return quantity_names(sed_type)

    @property
    def has_stat_profiles(self) -> bool:
        """Whether there are likelihood profiles."""
        return set(PROFILES) <= set(self._arrays)

    @property
    def has_ul(self) -> bool:
        """Whether there are upper limits."""
        return "norm_ul" in self._arrays

    @property
    def has_any_ts(self) -> bool:
        """Whether test statistics are given or follow from what is given."""
        return any(self.has(name) for name in ("ts", "sqrt_ts"))

    def has(self, name: str) -> bool:
        """Whether a quantity like ``"dnde_errn"`` is given or follows from what is given."""
        try:
            self._values(name)
        except DataError:
            return False
        return True

    def quantity(self, name: str) -> u.Quantity:
        """Return a quantity as an array.

        Parameters
        ----------
        name : str
            Name, like ``"dnde"``, ``"flux_ul"`` or ``"sqrt_ts"``.

        Returns
        -------
        `~astropy.units.Quantity`
            Shape (n,), or (n, …) for those per dataset and profiles.

        Raises
        ------
        DataError
            If there is no such quantity.
        """
        return u.Quantity(self._values(name), _unit_of(name))

    def get_map(self, name: str) -> RegionNDMap:
        """Return a quantity as a map on the energy axis."""
        values = self._values(name)
        axes = [self.energy_axis]
        if name in PER_DATASET:
            edges = np.arange(values.shape[1] + 1) - 0.5
            axes = [MapAxis.from_edges(edges, name="dataset"), *axes]
        elif name == "stat_scan":
            axes = [self._norm_axis(), *axes]
        geom = RegionGeom.create(None, axes=axes)
        return RegionNDMap(geom, data=values[..., np.newaxis, np.newaxis], unit=_unit_of(name))

    def _norm_axis(self) -> MapAxis:
        """Axis of the profiles' norms, or of their indices if these differ from bin to bin."""
        grid = self._arrays["norm_scan"]
        if np.allclose(grid, grid[0], rtol=1e-6, atol=0) and np.all(np.diff(grid[0]) > 0):
            return MapAxis.from_nodes(grid[0], name="norm", interp="lin")
        return MapAxis.from_nodes(np.arange(grid.shape[1]), name="norm_index", interp="lin")

    def _values(self, name: str) -> Array:
        """Return a quantity as a plain array, in the unit of its representation."""
        sed_type, stored = _split(name)
        derived = {"is_ul": self._is_ul, "ts": self._ts, "sqrt_ts": self._sqrt_ts}
        if stored in derived and stored not in self._arrays:
            return derived[stored]()
        if stored not in self._arrays:
            raise MissingQuantityError(f"Flux points have no {name!r}; there are {', '.join(self._arrays)}")
        values = self._arrays[stored]
        if not stored.startswith("norm") or stored == "norm_scan":
            return values
        if self.filter_success_nan and "success" in self._arrays:
            failed = ~self._arrays["success"].astype(bool)
            # Only where something failed, so that otherwise maps share the memory of what is kept.
            values = np.where(failed, np.nan, values) if np.any(failed) else values
        return values if sed_type == "likelihood" else values * self._reference.values(sed_type)

    def _is_ul(self) -> Array:
        """By the rules of GADF: where there is a limit; if significances are known, where they are low."""
        n = len(self._energies.ref)
        if not self.has_ul:
            return np.zeros(n, dtype=bool)
        limits = np.isfinite(self._arrays["norm_ul"])
        if not self.has_any_ts:
            return limits
        significance = self._values("sqrt_ts")
        return limits & ~(significance >= self.sqrt_ts_threshold_ul)

    def _ts(self) -> Array:
        if "sqrt_ts" in self._arrays:
            return self._arrays["sqrt_ts"] ** 2
        if not {"stat", "stat_null"} <= set(self._arrays):
            raise MissingQuantityError(f"Flux points have no 'ts'; there are {', '.join(self._arrays)}")
        return self._arrays["stat_null"] - self._arrays["stat"]

    def _sqrt_ts(self) -> Array:
        ts, norm = self._values("ts"), self._values("norm")
        return np.where(norm < 0, -1.0, 1.0) * np.sqrt(np.maximum(ts, 0.0))

    # Settings

    @property
    def n_sigma(self) -> float:
        """Number of standard deviations of errors."""
        return self.meta.get("n_sigma", 1)

    @property
    def n_sigma_ul(self) -> float | None:
        """Number of standard deviations of upper limits, if it is known."""
        return self.meta.get("n_sigma_ul")

    @property
    def sqrt_ts_threshold_ul(self) -> float:
        """Significance below which a point is taken as an upper limit, unless ``is_ul`` is given."""
        return self.meta.get("sqrt_ts_threshold_ul", 2)

    @property
    def sed_type_init(self) -> str:
        """Representation in which the points were given."""
        return self._sed_type_init

    @property
    def sed_type_plot_default(self) -> str:
        """Representation that `plot` uses by default."""
        return "dnde" if self._sed_type_init == "likelihood" else self._sed_type_init


def _split(name: str) -> tuple[str, str]:
    """Return the representation of a quantity and the name under which it is kept."""
    if name in (*PLAIN, *PER_DATASET, *PROFILES):
        return "likelihood", name
    for sed_type in SED_TYPES:
        prefix = prefix_of(sed_type)
        if name.removeprefix(prefix) in SUFFIXES and name.startswith(prefix):
            return sed_type, "norm" + name.removeprefix(prefix)
    raise DataError(f"Flux points: unknown quantity {name!r}, expected one of {quantity_names('dnde')}")


def _unit_of(name: str) -> u.UnitBase:
    return SED_UNITS[_split(name)[0]]
