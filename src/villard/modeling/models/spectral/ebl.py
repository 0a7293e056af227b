"""Absorption by the extragalactic background light."""

import os
from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FileFormatError, ModelError
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel
from villard.modeling.models.spectral.xspec import read_table_model
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace
from villard.utils.lazy import import_optional
from villard.utils.names import nearest
from villard.utils.paths import make_path
from villard.utils.units import to_canonical

__all__ = ["EBL_DATA_BUILTIN", "EBLAbsorptionNormSpectralModel"]

#: Tables of `$GAMMAPY_DATA`, by name.
EBL_DATA_BUILTIN = {
    "franceschini": "$GAMMAPY_DATA/ebl/ebl_franceschini.fits.gz",
    "dominguez": "$GAMMAPY_DATA/ebl/ebl_dominguez11.fits.gz",
    "finke": "$GAMMAPY_DATA/ebl/frd_abs.fits.gz",
    "franceschini17": "$GAMMAPY_DATA/ebl/ebl_franceschini_2017.fits.gz",
    "saldana-lopez21": "$GAMMAPY_DATA/ebl/ebl_saldana-lopez_2021.fits.gz",
}

#: The same models in the package ebltable, for those who have no tables.
_EBLTABLE = {
    "franceschini": "franceschini",
    "dominguez": "dominguez",
    "finke": "finke",
    "saldana-lopez21": "saldana-lopez",
}

_TINY = float(np.finfo("float32").tiny)


def _position(xp: Any, grid: Any, value: Any) -> tuple[Any, Any]:
    i = xp.clip(xp.searchsorted(grid, value) - 1, 0, len(grid) - 2)
    return i, (value - grid[i]) / (grid[i + 1] - grid[i])


def _evaluate(energy: Any, parameters: Any, arrays: Any) -> Any:
    """Transmission exp(-alpha tau), with tau bilinear in redshift and ln E."""
    redshift, alpha_norm = parameters[0], parameters[1]
    redshifts, log_energies, tau = arrays
    xp = namespace(energy, redshift, alpha_norm, tau)
    i, f = _position(xp, redshifts, redshift)
    j, g = _position(xp, log_energies, xp.log(energy))
    # Continued below its lowest energy the optical depth would become negative.
    low = xp.maximum(tau[i, j] * (1 - g) + tau[i, j + 1] * g, 0.0)
    high = xp.maximum(tau[i + 1, j] * (1 - g) + tau[i + 1, j + 1] * g, 0.0)
    return xp.exp(-alpha_norm * (low * (1 - f) + high * f))


def _breaks(_: Any, arrays: Any) -> Any:
    return namespace(arrays[1]).exp(arrays[1])


class EBLAbsorptionNormSpectralModel(SpectralModel):
    r"""Transmission through the extragalactic background light, :math:`e^{-\alpha \tau(E, z)}`.

    The optical depth is interpolated linearly in redshift and ln E; it is 0 at redshift 0. Transmissions
    below 1.2e-38, which files keep as 0, count as that.

    Parameters
    ----------
    energy : `~astropy.units.Quantity`
        Energies of the table, shape (n_energy,).
    param : array
        Redshifts of the table, shape (n_redshift,).
    data : array
        Transmission, shape (n_redshift, n_energy).
    redshift : float
        Redshift of the source.
    alpha_norm : float
        Factor on the optical depth.

    Examples
    --------
    >>> import astropy.units as u
    >>> table = [[1.0, 1.0], [0.9, 0.1]]
    >>> ebl = EBLAbsorptionNormSpectralModel([0.1, 10] * u.TeV, [0, 0.2], table, redshift=0.2)
    >>> ebl([0.1, 10] * u.TeV)
    <Quantity [0.9, 0.1]>
    """

    tag = ["EBLAbsorptionNormSpectralModel", "ebl-norm"]
    yaml_keys = ("filename", "energy", "param", "values")
    redshift = Parameter("redshift", 0.1, frozen=True)
    alpha_norm = Parameter("alpha_norm", 1.0, frozen=True)

    def __init__(
        self,
        energy: Any,
        param: Any,
        data: Any,
        redshift: Any = 0.1,
        alpha_norm: Any = 1.0,
        interp_kwargs: dict[str, Any] | None = None,
        filename: str | None = None,
    ) -> None:
        energy, param, data = u.Quantity(energy), u.Quantity(param).value, np.asarray(data, dtype=float)
        if data.shape != (len(param), len(energy)):
            raise ModelError(
                f"EBLAbsorptionNormSpectralModel: expected data of shape {(len(param), len(energy))}, "
                f"found {data.shape}"
            )
        if not (np.all(np.diff(param) > 0) and np.all(np.diff(energy.value) > 0)):
            raise ModelError("EBLAbsorptionNormSpectralModel: energies and redshifts must increase")
        if not np.all((data >= 0) & (data <= 1 + 1e-6)):
            raise ModelError("EBLAbsorptionNormSpectralModel: transmissions must be between 0 and 1")
        if interp_kwargs:
            raise ModelError(
                f"EBLAbsorptionNormSpectralModel: there are no interpolation options, found {interp_kwargs}"
            )
        self._energy, self._param, self._table, self._filename = energy, param, data, filename
        super().__init__(redshift=redshift, alpha_norm=alpha_norm)

    @property
    def flux_unit(self) -> u.UnitBase:
        """No unit: it is a factor."""
        return u.dimensionless_unscaled

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the table is data."""
        tau: NDArray[np.float64] = -np.log(np.clip(self._table, _TINY, 1.0))
        param = self._param
        if param[0] > 0:
            param, tau = np.append(0.0, param), np.concatenate([np.zeros((1, tau.shape[1])), tau])
        arrays = (param, np.log(to_canonical(self._energy)), tau)
        return PureSpectrum(("ebl", tau.shape), 2, _evaluate, arrays=arrays, breaks=_breaks)

    @classmethod
    def read(
        cls,
        filename: str | os.PathLike[str],
        redshift: Any = 0.1,
        alpha_norm: Any = 1.0,
        interp_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Read an XSPEC table model of the transmission.

        Parameters
        ----------
        filename : str or path-like
            FITS file, energies in keV.
        redshift, alpha_norm : float
            Parameters.

        Raises
        ------
        FileFormatError
            If the file isn't such a table; the message names it.
        """
        energy, param, data = read_table_model(filename)
        try:
            return cls(
                energy, param, np.minimum(data, 1.0), redshift, alpha_norm, interp_kwargs, os.fspath(filename)
            )
        except ModelError as error:
            raise FileFormatError(f"{make_path(filename)}: {error}") from error

    @classmethod
    def read_builtin(
        cls,
        reference: str = "dominguez",
        redshift: Any = 0.1,
        alpha_norm: Any = 1.0,
        interp_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Read a published model by name.

        Parameters
        ----------
        reference : {"franceschini", "dominguez", "finke", "franceschini17", "saldana-lopez21"}
            Model. It is read from `$GAMMAPY_DATA`, or where that isn't set made from the package
            ebltable (extra ``ebl``).
        redshift, alpha_norm : float
            Parameters.

        Raises
        ------
        ModelError
            If there is no model of this name.
        """
        if reference not in EBL_DATA_BUILTIN:
            raise ModelError(f"No EBL model {reference!r}. {nearest(reference, EBL_DATA_BUILTIN)}")
        if "GAMMAPY_DATA" in os.environ:
            return cls.read(EBL_DATA_BUILTIN[reference], redshift, alpha_norm, interp_kwargs)
        return cls.from_ebltable(reference, redshift, alpha_norm)

    @classmethod
    def from_ebltable(cls, reference: str, redshift: Any = 0.1, alpha_norm: Any = 1.0) -> Self:
        """Make the model from the package ebltable.

        Parameters
        ----------
        reference : str
            A name of `read_builtin`, or one of ebltable's own.
        redshift, alpha_norm : float
            Parameters.

        Raises
        ------
        MissingDependencyError
            If ebltable isn't installed.
        """
        module = import_optional("ebltable.tau_from_model", "ebl")
        depth = module.OptDepth.readmodel(model=_EBLTABLE.get(reference, reference))
        energy = np.geomspace(0.01, 60, 200)
        param = np.append(0.0, np.geomspace(0.01, 2.0, 150))
        tau = np.zeros((len(param), len(energy)))
        tau[1:] = np.array([depth.opt_depth(z, energy) for z in param[1:]])
        return cls(energy * u.TeV, param, np.exp(-np.clip(tau, 0, None)), redshift, alpha_norm)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML: the table's file, or the table itself."""
        result = super().to_dict(full_output)
        if self._filename is not None:
            return {**result, "filename": self._filename}
        return {
            **result,
            "energy": {"data": self._energy.value.tolist(), "unit": str(self._energy.unit)},
            "param": {"data": self._param.tolist(), "unit": ""},
            "values": {"data": self._table.tolist(), "unit": ""},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`."""
        cls.check_keys(data)
        if data.get("filename"):
            model = cls.read(data["filename"])
        else:
            for key in ("energy", "param", "values"):
                if key not in data:
                    raise ModelError(f"EBLAbsorptionNormSpectralModel: expected 'filename' or {key!r}")
            energy = u.Quantity(data["energy"]["data"], data["energy"]["unit"])
            model = cls(energy, data["param"]["data"], data["values"]["data"])
        model._update_parameters(data.get("parameters") or [])
        return model
