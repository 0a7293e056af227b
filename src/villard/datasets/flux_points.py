"""Flux points as data of a fit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.datasets.core import Dataset
from villard.datasets.flux_points_plot import FluxPointsPlots
from villard.exceptions import DataError
from villard.likelihood.measurement import Measurement
from villard.likelihood.predict import predict, stat_array
from villard.maps import RegionNDMap
from villard.utils.names import nearest
from villard.utils.units import canonical_factor

if TYPE_CHECKING:
    from villard.estimators import FluxPoints

__all__ = ["FluxPointsDataset"]

Array = NDArray[np.float64]
_DNDE = u.Unit("cm-2 s-1 TeV-1")


class FluxPointsDataset(FluxPointsPlots, Dataset):
    r"""Flux points, compared with the differential flux of models at their reference energies.

    Parameters
    ----------
    models : model, list of models or `~villard.modeling.models.Models`, optional
        Models.
    data : `~villard.estimators.FluxPoints`
        Flux points.
    mask_fit, mask_safe : `~villard.maps.RegionNDMap` or array of bool, optional
        Points that the user selects, and points that can be trusted; both limit the fit.
    name : str, optional
        Name; random by default.
    meta_table : `~astropy.table.Table`, optional
        Anything about the data.
    stat_type : {"chi2", "distrib", "censored", "profile"}
        Fit statistic:

        - "chi2": squared residuals in units of the symmetric errors; upper limits are left out;
        - "distrib": asymmetric errors, and upper limits as Gammapy counts them;
        - "censored": asymmetric errors, and upper limits as points that were not detected;
        - "profile": the likelihood profiles of the points.

        See `villard.likelihood.statistics`.

    Raises
    ------
    DataError
        If the data are no flux points, or lack what the statistic needs.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from villard.estimators import FluxPoints
    >>> from villard.modeling.models import PowerLawSpectralModel, SkyModel
    >>> table = Table({"e_ref": [1, 10] * u.TeV})
    >>> table["dnde"] = [3e-12, 1e-14] * u.Unit("cm-2 s-1 TeV-1")
    >>> table["dnde_err"] = 0.1 * table["dnde"].quantity
    >>> points = FluxPoints.from_table(table, sed_type="dnde")
    >>> dataset = FluxPointsDataset(SkyModel(PowerLawSpectralModel(index=2), name="crab"), points, name="toy")
    >>> dataset.stat_array().ravel().round(3).tolist()
    [44.444, 0.0]
    """

    tag: ClassVar[str] = "FluxPointsDataset"
    available_stat_type: ClassVar[tuple[str, ...]] = ("chi2", "distrib", "censored", "profile")

    def __init__(
        self,
        models: Any = None,
        data: FluxPoints | None = None,
        mask_fit: Any = None,
        mask_safe: Any = None,
        name: str | None = None,
        meta_table: Any = None,
        stat_type: str = "chi2",
    ) -> None:
        super().__init__(name=name, models=models)
        if not hasattr(data, "reference_model"):
            raise DataError(
                f"Dataset {self.name!r}: expected FluxPoints as data, found {type(data).__name__}"
            )
        self._data: Any = data
        self._meta_table = meta_table
        self.stat_type = stat_type
        self.mask_fit = mask_fit
        self.mask_safe = mask_safe

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "stat_type" and value not in self.available_stat_type:
            raise DataError(
                f"Dataset {self.name!r}: unknown stat_type {value!r}. "
                f"{nearest(str(value), self.available_stat_type)}"
            )
        super().__setattr__(name, value)

    @property
    def data(self) -> FluxPoints:
        """Flux points."""
        return self._data

    @property
    def meta_table(self) -> Any:
        """Anything about the data."""
        return self._meta_table

    @property
    def gti(self) -> Any:
        """Good time intervals of the flux points, or `None`."""
        return self._data.gti

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the data, (n_points, 1, 1)."""
        return (len(self._data), 1, 1)

    # Masks

    @property
    def mask_valid(self) -> RegionNDMap:
        """Points that have what the statistic needs; upper limits have not, for "chi2"."""
        points, finite = self._data, self._finite
        is_ul = points.quantity("is_ul").value.astype(bool)
        if self.stat_type == "profile":
            valid = np.all(np.isfinite(points.quantity("stat_scan").value), axis=1)
        elif self.stat_type == "chi2":
            valid = finite("dnde") & np.isfinite(self._symmetric_error()) & ~is_ul
        else:
            low, high = self._asymmetric_errors()
            measured = finite("dnde") & np.isfinite(low) & np.isfinite(high)
            valid = np.where(is_ul, finite("dnde_ul"), measured)
        return self._as_map(valid)

    def _finite(self, name: str) -> NDArray[np.bool_]:
        return (
            np.isfinite(self._plain(name)) if self._data.has(name) else np.zeros(len(self._data), dtype=bool)
        )

    @property
    def mask_safe(self) -> RegionNDMap:
        """Points that can be trusted: those set by the user, as far as they are in `mask_valid`."""
        valid = self.mask_valid
        return valid if self._mask_safe is None else self._as_map(valid.data & self._mask_safe.data)

    @mask_safe.setter
    def mask_safe(self, mask: Any) -> None:
        self._mask_safe = self._as_mask(mask, "mask_safe")

    @property
    def mask_fit(self) -> RegionNDMap | None:
        """Points that the user selects for the fit, or `None` for all."""
        return self._mask_fit

    @mask_fit.setter
    def mask_fit(self, mask: Any) -> None:
        self._mask_fit = self._as_mask(mask, "mask_fit")

    @property
    def mask(self) -> RegionNDMap:
        """Points that enter the fit."""
        safe = self.mask_safe
        return safe if self._mask_fit is None else self._as_map(safe.data & self._mask_fit.data)

    def _as_mask(self, mask: Any, name: str) -> RegionNDMap | None:
        if mask is None:
            return None
        values = np.asarray(mask.data if hasattr(mask, "geom") else mask)
        if values.dtype != bool or values.size != len(self._data):
            raise DataError(
                f"Dataset {self.name!r}: {name}: expected {len(self._data)} booleans, "
                f"found {values.dtype} of shape {values.shape}"
            )
        return self._as_map(values)

    def _as_map(self, values: Any, unit: Any = "") -> RegionNDMap:
        return RegionNDMap(self._data.geom, data=np.reshape(values, self.data_shape), unit=unit)

    # Likelihood

    def _plain(self, name: str) -> Array:
        """A flux in cm⁻² s⁻¹ TeV⁻¹, shape (n_points,)."""
        return np.asarray(self._data.quantity(name).to_value(_DNDE), dtype=float)

    def _symmetric_error(self) -> Array:
        """Symmetric error; where there is none, the mean of the asymmetric ones."""
        points = self._data
        error = self._plain("dnde_err") if points.has("dnde_err") else np.full(len(points), np.nan)
        if points.has("dnde_errn") and points.has("dnde_errp"):
            mean = 0.5 * (self._plain("dnde_errn") + self._plain("dnde_errp"))
            error = np.where(np.isfinite(error), error, mean)
        return error

    def _asymmetric_errors(self) -> tuple[Array, Array]:
        """Lower and upper error; where there is none (GADF: NaN or negative), the symmetric one."""
        symmetric = self._symmetric_error()
        errors = []
        for name in ("dnde_errn", "dnde_errp"):
            error = self._plain(name) if self._data.has(name) else symmetric
            errors.append(np.where(error >= 0, error, symmetric))
        return errors[0], errors[1]

    def measurement(self) -> Measurement:
        """Return what the likelihood needs to know, as plain arrays in TeV, cm, s.

        Raises
        ------
        DataError
            If an error or a limit of a point in the fit isn't positive, or profiles are missing.
        """
        points = self._data
        mask = self.mask.data.reshape(-1)
        energy = points.energy_ref.value * canonical_factor(points.energy_ref.unit)
        build = {"chi2": self._chi2_data, "profile": self._profile_data}.get(
            self.stat_type, self._limits_data
        )
        return Measurement(
            name=self.name,
            statistic=self.stat_type,
            data=build(mask),
            mask=mask,
            energy_min=energy,
            energy_max=energy,
            exposure=np.ones(len(points)),
            differential=True,
        )

    def _check_positive(self, values: Array, mask: NDArray[np.bool_], what: str) -> None:
        bad = mask & ~(values > 0)
        if np.any(bad):
            i = int(np.argmax(bad))
            raise DataError(
                f"Dataset {self.name!r}: expected a positive {what} of the point at "
                f"{self._data.energy_ref[i]:.4g}, found {values[i]:g}. Leave it out by mask_fit"
            )

    def _chi2_data(self, mask: NDArray[np.bool_]) -> dict[str, Array]:
        error = self._symmetric_error()
        self._check_positive(error, mask, "error")
        return {"value": self._plain("dnde"), "error": error}

    def _limits_data(self, mask: NDArray[np.bool_]) -> dict[str, Array]:
        """Points with asymmetric errors, and limits; what either doesn't have is set to 1."""
        points = self._data
        is_ul = points.quantity("is_ul").value.astype(bool)
        errn, errp = self._asymmetric_errors()
        limits = self._plain("dnde_ul") if points.has("dnde_ul") else np.full(len(points), np.nan)
        self._check_positive(errn, mask & ~is_ul, "lower error")
        self._check_positive(errp, mask & ~is_ul, "upper error")
        self._check_positive(limits, mask & is_ul, "upper limit")
        data = {
            "value": np.where(is_ul, 1.0, self._plain("dnde")),
            "errn": np.where(is_ul, 1.0, errn),
            "errp": np.where(is_ul, 1.0, errp),
            "ul": np.where(is_ul, limits, 1.0),
            "is_ul": is_ul.astype(float),
        }
        if self.stat_type == "censored":
            data["ul_error"] = self._limit_error(limits, is_ul)
        return data

    def _limit_error(self, limits: Array, is_ul: NDArray[np.bool_]) -> Array:
        """Error that the measurements of upper limits had: their own, or that of a limit on no flux."""
        error = self._symmetric_error()
        own = is_ul & (error > 0)
        if np.any(is_ul & ~own) and self._data.n_sigma_ul is None:
            raise DataError(
                f"Dataset {self.name!r}: the statistic 'censored' needs the confidence of the upper limits; "
                "set data.meta['n_sigma_ul'] (keyword UL_CONF in files)"
            )
        n_sigma = self._data.n_sigma_ul or 1.0
        return np.where(own, error, np.where(is_ul, limits / n_sigma, 1.0))

    def _profile_data(self, mask: NDArray[np.bool_]) -> dict[str, Array]:
        """Profiles against the differential flux."""
        from villard.likelihood.profile_statistic import profile_roots

        points = self._data
        reference = points.reference("dnde").to_value(_DNDE)
        best_stat = points.quantity("stat").value if points.has("stat") else np.full(len(points), np.nan)
        return profile_roots(
            points.norm_scan * reference[:, np.newaxis],
            points.quantity("stat_scan").value,
            self._plain("dnde"),
            best_stat,
        )

    def npred(self) -> RegionNDMap:
        """Return the differential flux of the models at the reference energies."""
        return self._as_map(self._prediction(), _DNDE)

    def _prediction(self) -> Array:
        energy = self._data.energy_ref.value * canonical_factor(self._data.energy_ref.unit)
        ones = np.ones(len(energy))
        record = Measurement(
            self.name, self.stat_type, {}, ones.astype(bool), energy, energy, ones, differential=True
        )
        return predict(record, self.models or ())

    def flux_pred(self) -> u.Quantity:
        """Return the differential flux of the models at the reference energies, shape (n_points, 1, 1)."""
        return self.npred().quantity

    def stat_array(self) -> Array:
        """Return -2 ln L per point, shape (n_points, 1, 1); NaN for points without a measurement."""
        return stat_array(self.measurement(), self._prediction()).reshape(self.data_shape)

    def _stat_sum_data(self) -> float:
        measurement = self.measurement()
        return float(np.sum(stat_array(measurement, self._prediction())[measurement.mask]))

    def residuals(self, method: str = "diff") -> RegionNDMap:
        """Return the flux of the points minus that of the models.

        Parameters
        ----------
        method : {"diff", "diff/model"}
            Whether the difference is divided by the prediction.

        Returns
        -------
        `~villard.maps.RegionNDMap`
            Residuals of all points, also those outside the masks; NaN for upper limits.
        """
        if method == "diff/sqrt(model)":
            raise DataError(
                f"Dataset {self.name!r}: residuals {method!r} are for counts; use 'diff' or 'diff/model'"
            )
        return self._compute_residuals(self._as_map(self._plain("dnde"), _DNDE), self.npred(), method)

    # Copies

    def copy(self, name: str | None = None) -> Self:
        """Return a copy that shares nothing with the dataset, without models; random name by default."""
        return self._with(self._data.copy(), self._mask_fit, self._mask_safe, name)

    def _with(self, data: Any, mask_fit: Any, mask_safe: Any, name: str | None) -> Self:
        new = type(self)(
            data=data, name=name, meta_table=self._meta_table, stat_type=self.stat_type, mask_fit=mask_fit
        )
        new.mask_safe = mask_safe
        return new

    def slice_by_energy(
        self, energy_min: u.Quantity, energy_max: u.Quantity, name: str | None = None
    ) -> Self:
        """Return the dataset of the points between two energies, without models.

        Parameters
        ----------
        energy_min, energy_max : `~astropy.units.Quantity`
            Bounds; see `~villard.estimators.FluxPoints.slice_by_energy`.
        name : str, optional
            Name; random by default.
        """
        data = self._data.slice_by_energy(energy_min, energy_max)
        kept = np.isin(self._data.energy_ref.value, data.energy_ref.value)
        fit, safe = (None if m is None else m.data[kept] for m in (self._mask_fit, self._mask_safe))
        return self._with(data, fit, safe, name)

    @property
    def energy_range(self) -> tuple[RegionNDMap, RegionNDMap]:
        """Lowest and highest energy of the bins in the fit, as maps of one number; NaN if there are none."""
        return self._energy_range(self.mask.data)

    @property
    def energy_range_safe(self) -> tuple[RegionNDMap, RegionNDMap]:
        """Lowest and highest energy of the bins in `mask_safe`."""
        return self._energy_range(self.mask_safe.data)

    def _energy_range(self, mask: Any) -> tuple[RegionNDMap, RegionNDMap]:
        mask, points = mask.reshape(-1), self._data
        unit = points.energy_ref.unit
        bounds = (np.nan, np.nan)
        if np.any(mask):
            bounds = float(points.energy_min[mask][0].value), float(points.energy_max[mask][-1].value)
        low, high = (RegionNDMap.create(None, unit=unit) for _ in range(2))
        low.data[...], high.data[...] = bounds
        return low, high

    def info_dict(self) -> dict[str, Any]:
        """Return name, type, number of points and of those in the fit, and the statistic."""
        return {
            "name": self.name,
            "type": self.tag,
            "n_bins": len(self._data),
            "n_fit_bins": int(np.sum(self.mask.data)),
            "stat_type": self.stat_type,
            "stat_sum": self.stat_sum() if self.models else float("nan"),
        }

    # Files

    @classmethod
    def read(cls, filename: str | os.PathLike[str], *, name: str | None = None) -> Self:
        """Read the dataset from a FITS or ECSV file of flux points; masks and statistic if they are there.

        Parameters
        ----------
        filename : str or path-like
            File; ``$VAR`` is expanded.
        name : str, optional
            Name; random by default.
        """
        # Flux points know of fits, so their room lies above this one: it is only looked up when needed.
        from villard.estimators import FluxPoints

        data = FluxPoints.read(filename)
        masks = {key: data.pop_column(key) for key in ("mask_fit", "mask_safe")}
        arrays = {k: None if m is None else np.asarray(m).reshape(-1).astype(bool) for k, m in masks.items()}
        stat_type = str(data.meta.pop("STATTYPE", "chi2")).strip()
        # A mask that selects all is none.
        arrays = {k: None if m is None or np.all(m) else m for k, m in arrays.items()}
        return cls(data=data, name=name, stat_type=stat_type, **arrays)

    def write(self, filename: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write flux points, masks and the name of the statistic to a FITS or ECSV file, without models.

        Parameters
        ----------
        filename : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.
        """
        data = self._data.copy()
        data.meta["STATTYPE"] = self.stat_type
        masks = {"mask_fit": self._mask_fit, "mask_safe": self._mask_safe}
        for key, mask in masks.items():
            # Gammapy expects both columns.
            data.set_column(key, np.ones(self.data_shape, dtype=bool) if mask is None else mask.data)
        data.write(filename, overwrite=overwrite)

    def __str__(self) -> str:
        stat = f"{self.stat_sum():.4f}" if self.models else "no models"
        free = [] if self.models is None else [p for p in self.parameters if not p.frozen]
        rows = {
            "Points": str(len(self._data)),
            "Points in the fit": str(int(np.sum(self.mask.data))),
            "Upper limits": str(int(np.sum(self._data.quantity("is_ul").value))),
            "Statistic": self.stat_type,
            "-2 ln L": stat,
            "Models": ", ".join(self.models.names) if self.models else "none",
            "Free parameters": str(len(free)),
        }
        title = f"FluxPointsDataset {self.name}"
        return f"{title}\n" + "".join(f"\n  {key:18s}: {value}" for key, value in rows.items()) + "\n"
