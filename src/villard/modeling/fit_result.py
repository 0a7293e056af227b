"""Results of fits: what was found, how good it is, and a readable form of both."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.modeling.parameter import Parameters

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.modeling.models import Models

__all__ = ["CovarianceResult", "FitResult", "OptimizeResult"]

QUALITY = {
    3: "accurate",
    2: "forced positive definite",
    1: "approximate",
    0: "not available",
}


def _block(title: str, entries: dict[str, Any]) -> str:
    width = max(map(len, entries))
    return "\n".join([title, "", *(f"\t{key:<{width}} : {value}" for key, value in entries.items())])


@dataclass
class OptimizeResult:
    """Outcome of a minimisation.

    Attributes
    ----------
    models : `~villard.modeling.models.Models`
        Copy of the models with the values found.
    backend, method : str
        What minimised.
    success : bool
        Whether it converged.
    message : str
        What happened.
    nfev : int
        Evaluations of the statistic.
    total_stat : float
        -2 ln L, priors included.
    edm : float
        Estimated distance to the minimum, if the backend tells it.
    at_limits : list of str
        Parameters that ended at one of their limits.
    trace : `~astropy.table.Table` or None
        A row per evaluation.
    minuit : `iminuit.Minuit` or None
        The MINUIT object, of the backend ``"minuit"``.
    """

    models: "Models"
    backend: str
    method: str
    success: bool
    message: str
    nfev: int
    total_stat: float
    edm: float = float("nan")
    at_limits: list[str] = field(default_factory=list)
    trace: "Table | None" = None
    minuit: Any = None

    @property
    def parameters(self) -> Parameters:
        """Parameters of the copied models."""
        return self.models.parameters

    def __str__(self) -> str:
        entries = {
            "backend": self.backend,
            "method": self.method,
            "success": self.success,
            "message": self.message,
            "nfev": self.nfev,
            "total stat": f"{self.total_stat:.2f}",
        }
        return _block("OptimizeResult", entries) + "\n"


@dataclass
class CovarianceResult:
    """Covariance of the free parameters at the minimum.

    Attributes
    ----------
    backend, method : str
        How it was computed.
    quality : int
        3 accurate, 2 forced positive definite, 1 approximate, 0 not available.
    message : str
        What happened.
    matrix : array
        Covariance of the free parameters in their units, shape (n_free, n_free).
    names : list of str
        Unique names of the free parameters.
    """

    backend: str
    method: str
    quality: int
    message: str
    matrix: NDArray[np.float64]
    names: list[str]

    @property
    def success(self) -> bool:
        """Whether there are errors that can be used."""
        return self.quality >= 2

    def __str__(self) -> str:
        entries = {
            "backend": self.backend,
            "method": self.method,
            "success": self.success,
            "quality": f"{self.quality} ({QUALITY[self.quality]})",
            "message": self.message,
        }
        return _block("CovarianceResult", entries) + "\n"


class FitResult:
    """Result of `Fit.run`: the minimum and, where it was computed, the covariance."""

    def __init__(
        self, optimize_result: OptimizeResult, covariance_result: CovarianceResult | None = None
    ) -> None:
        self.optimize_result = optimize_result
        self.covariance_result = covariance_result

    @property
    def models(self) -> "Models":
        """Copy of the models, with values, errors and correlations as found."""
        return self.optimize_result.models

    @property
    def parameters(self) -> Parameters:
        """Parameters of `models`."""
        return self.models.parameters

    @property
    def covariance(self) -> Any:
        """Covariance of `parameters`."""
        return self.models.covariance

    @property
    def backend(self) -> str:
        """Backend that minimised."""
        return self.optimize_result.backend

    @property
    def method(self) -> str:
        """Method that minimised."""
        return self.optimize_result.method

    @property
    def success(self) -> bool:
        """Whether the minimisation converged."""
        return self.optimize_result.success

    @property
    def message(self) -> str:
        """What happened."""
        return self.optimize_result.message

    @property
    def nfev(self) -> int:
        """Evaluations of the statistic."""
        return self.optimize_result.nfev

    @property
    def total_stat(self) -> float:
        """-2 ln L at the minimum, priors included."""
        return self.optimize_result.total_stat

    @property
    def trace(self) -> "Table | None":
        """A row per evaluation, if it was stored."""
        return self.optimize_result.trace

    @property
    def minuit(self) -> Any:
        """The `iminuit.Minuit` object, of the backend ``"minuit"``."""
        return self.optimize_result.minuit

    def to_dict(self) -> dict[str, Any]:
        """Return models and both results as plain data."""
        optimize, covariance = self.optimize_result, self.covariance_result
        data: dict[str, Any] = {
            "optimize_result": {
                "backend": optimize.backend,
                "method": optimize.method,
                "success": bool(optimize.success),
                "message": optimize.message,
                "nfev": int(optimize.nfev),
                "total_stat": float(optimize.total_stat),
            }
        }
        if covariance is not None:
            data["covariance_result"] = {
                "backend": covariance.backend,
                "method": covariance.method,
                "quality": int(covariance.quality),
                "success": bool(covariance.success),
                "message": covariance.message,
            }
        return {**self.models.to_dict(), **data}

    def write(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        full_output: bool = True,
        write_covariance: bool = True,
    ) -> None:
        """Write the models, the results and, beside them, the covariance as YAML.

        Raises
        ------
        OverwriteError
            If a file exists and ``overwrite`` is false.
        """
        import yaml

        from villard.utils.io import atomic_write, check_overwrite

        path = check_overwrite(path, overwrite)
        data = self.to_dict()
        if write_covariance and self.covariance_result is not None:
            covariance_path = path.parent / f"{path.stem}_covariance.dat"
            self.models._write_covariance(check_overwrite(covariance_path, overwrite), overwrite)
            data["covariance"] = covariance_path.name
        with atomic_write(path, overwrite) as temporary:
            temporary.write_text(yaml.safe_dump(data, sort_keys=False, width=120), encoding="utf-8")

    def __str__(self) -> str:
        blocks = [str(self.optimize_result)]
        if self.covariance_result is not None:
            blocks.append(str(self.covariance_result))
        return "\n".join(blocks)
