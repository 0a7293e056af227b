"""Fits of spectra to likelihood profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.estimators.castro import CastroData
from villard.exceptions import ConfigError, FitError, ModelError
from villard.likelihood.measurement import Measurement
from villard.utils.names import nearest

__all__ = ["SpectrumFit", "fit_spectrum", "test_spectra"]

Array = NDArray[np.float64]

#: Norms, in units of the fluxes that are typical of the profiles, from which amplitudes start.
_FACTORS = np.geomspace(1e-5, 1e3, 81)
#: Starts that are carried to the end.
_MAX_STARTS = 48


@dataclass(frozen=True)
class SpectrumFit:
    """A spectrum fitted to likelihood profiles.

    Parameters
    ----------
    model : spectral model
        Copy with fitted values, errors and covariance.
    ts : float
        Rise of -2 ln L from the fit to no flux.
    stat : float
        Rise of -2 ln L from the best fits of all bins to the fit: how well the spectrum fits.
    norm : list of array
        Norms that the spectrum has in the bins of each target.
    success : bool
        Whether the fit converged.
    message : str
        How it ended.
    """

    model: Any
    ts: float
    stat: float
    norm: list[Array] = field(repr=False)
    success: bool
    message: str

    @property
    def parameters(self) -> dict[str, float]:
        """Values by name, in the parameters' units."""
        return {p.name: p.value for p in self.model.parameters}

    def __str__(self) -> str:
        rows = [f"{type(self.model).__name__}: TS {self.ts:.3f}, -2 ln L {self.stat:.3f}. {self.message}"]
        for p in self.model.parameters:
            error = "frozen" if p.frozen else f"± {p.error:.3g}"
            rows.append(f"  {p.name:12s} {p.value:12.5g} {error} {p.unit}")
        return "\n".join(rows)


class ProfileDataset:
    """Profiles of one target as a dataset of the engine; predictions are norms.

    Parameters
    ----------
    data : `CastroData`
        Profiles.
    name : str
        Name.
    models : list of models
        Models.
    """

    def __init__(self, data: CastroData, name: str, models: Sequence[Any]) -> None:
        self.data, self.name, self.models = data, name, list(models)

    def measurement(self) -> Measurement:
        """Return what the likelihood needs."""
        energy, matrix = self.data.nodes
        return Measurement(
            name=self.name,
            statistic="profile",
            data=self.data.roots,
            mask=np.ones(self.data.n_bins, dtype=bool),
            energy_min=energy,
            energy_max=energy,
            exposure=np.ones(len(energy)),
            edisp=matrix,
            differential=True,
        )


def as_sky_model(model: Any, name: str = "spectrum") -> Any:
    """Return a copy as a `SkyModel`, with amplitudes that can't be negative."""
    from villard.modeling.models import SkyModel
    from villard.modeling.models.spectral.core import SpectralModel

    if isinstance(model, SpectrumFit):
        model = model.model
    if not isinstance(model, SpectralModel):
        if getattr(model, "spectral_model", None) is None:
            raise ModelError(f"Castro data: expected a spectral model, found {type(model).__name__}")
        model = model.spectral_model
    model = model.copy()
    for parameter in model.parameters:
        if parameter.is_norm and np.isnan(parameter.min) and parameter.value >= 0:
            parameter.min = 0.0
    return SkyModel(spectral_model=model, name=name)


def fold_spectrum(data: CastroData, model: Any) -> Array:
    """Return the norms that a model has in the bins of a target, shape (n_bins,)."""
    from villard.likelihood.predict import predict

    return predict(ProfileDataset(data, "target", [model]).measurement(), [model])


def fit_spectrum(
    data: CastroData | Sequence[CastroData], spectrum: Any, starts: Sequence[dict[str, float]] | None = None
) -> SpectrumFit:
    """Fit a spectrum to the likelihood profiles of one target, or of several measurements of it.

    Profiles have no bins without information, so that fits with two or three parameters may have several
    minima: it is started from the model's values and from other shapes, all in one batch, and the best one
    is taken. Amplitudes are kept from being negative, unless they have a limit of their own.

    Parameters
    ----------
    data : `CastroData` or list of them
        Profiles.
    spectrum : spectral model or `~villard.modeling.models.SkyModel`
        Spectrum; it isn't changed.
    starts : list of dict, optional
        Further starts: values of parameters by name, in their units. By default only the model's own.

    Returns
    -------
    `SpectrumFit`
        The best fit.

    Raises
    ------
    ModelError
        If it is no spectral model.
    FitError
        If no parameter is free.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import Table
    >>> from villard.estimators import FluxPoints
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> edges = np.geomspace(1, 100, 5) * u.GeV
    >>> table = Table({"e_min": edges[:-1], "e_max": edges[1:]})
    >>> table["norm_scan"] = np.tile(np.linspace(0, 4, 9), (4, 1))
    >>> table["norm"], table["stat_scan"] = np.ones(4), (table["norm_scan"] - 1) ** 2 / 0.2**2
    >>> truth = PowerLawSpectralModel(index=2.3, amplitude="1e-9 TeV-1 cm-2 s-1")
    >>> points = FluxPoints.from_table(table, sed_type="likelihood", reference_model=truth)
    >>> fit = fit_spectrum(CastroData(points), PowerLawSpectralModel(index=2))
    >>> round(fit.ts, 4), round(fit.parameters["index"], 5)
    (100.0, 2.3)
    """
    from villard.modeling.fit import Fit
    from villard.modeling.models import Models

    targets = [data] if isinstance(data, CastroData) else list(data)
    sky = as_sky_model(spectrum)
    models = Models([sky])
    datasets: list[Any] = [ProfileDataset(d, f"target-{i}", models) for i, d in enumerate(targets)]
    if not sky.parameters.free_parameters:
        raise FitError("Castro data: no parameter of the spectrum is free")
    success, message = _fit_best(datasets, sky, list(starts or []))
    Fit().covariance(datasets)
    norms = [fold_spectrum(d, sky) for d in targets]
    return SpectrumFit(
        model=sky.spectral_model,
        ts=_ts(targets, norms),
        stat=float(sum(d.stat(n).sum() for d, n in zip(targets, norms, strict=True))),
        norm=norms,
        success=success,
        message=message,
    )


def _ts(targets: Sequence[CastroData], norms: Sequence[Array]) -> float:
    return float(
        sum(np.sum(d.stat(np.zeros(d.n_bins)) - d.stat(n)) for d, n in zip(targets, norms, strict=True))
    )


def _fit_best(datasets: list[Any], sky: Any, starts: list[dict[str, float]]) -> tuple[bool, str]:
    """Give the model the values of the lowest minimum that is reached from any of the starts."""
    from villard.likelihood import bind
    from villard.likelihood.solver import SolverStatus

    parameters = sky.parameters
    own = {p.name: p.value for p in parameters}
    norm = next((p for p in sky.spectral_model.parameters if p.is_norm and not p.frozen), None)
    likelihood = bind(datasets, [sky])
    rows = []
    for start in [own, *starts]:
        _set(parameters, {**own, **start})
        parts = [(d.data, fold_spectrum(d.data, sky)) for d in datasets]
        factor, stat = _best_factor(parts) if norm is not None else (1.0, _stat(parts))
        rows.append((stat, [p.value * (factor if p is norm else 1.0) for p in likelihood.parameters]))
    rows = sorted(rows, key=lambda row: row[0])[:_MAX_STARTS]
    solution = likelihood.minimize_batch(likelihood.to_theta([values for _, values in rows]))
    value = np.where(np.isfinite(solution.value), solution.value, np.inf)
    best = int(np.argmin(value))
    values = likelihood.to_values(solution.theta[best])
    _set(parameters, {**own, **{p.name: v for p, v in zip(likelihood.parameters, values, strict=True)}})
    return bool(solution.success[best]), SolverStatus(int(solution.status[best])).message


def _stat(parts: list[tuple[CastroData, Array]]) -> float:
    return float(sum(data.stat(norm).sum() for data, norm in parts))


def _set(parameters: Any, values: dict[str, float]) -> None:
    for parameter in parameters:
        low, high = parameter.bounds
        parameter.value = min(max(values[parameter.name], low), high)


def _best_factor(parts: list[tuple[CastroData, Array]]) -> tuple[float, float]:
    """Return the factor on an amplitude at which the statistic is lowest, and the statistic there."""
    scale = 0.0
    for data, norm in parts:
        ratio = data.norm_ul(0.95) / np.where(norm > 0, norm, np.inf)
        scale = max(scale, float(np.nanmin(np.where(ratio > 0, ratio, np.inf))))
    if not (scale > 0 and np.isfinite(scale)):
        return 1.0, _stat(parts)
    factors = scale * _FACTORS
    stat = sum(data.stat(factors[:, None] * norm).sum(axis=-1) for data, norm in parts)
    best = int(np.argmin(stat))
    return float(factors[best]), float(np.asarray(stat)[best])


def _power_law(low: float, high: float) -> tuple[Any, list[dict[str, float]]]:
    from villard.modeling.models import PowerLawSpectralModel

    model = PowerLawSpectralModel(amplitude="1e-12 MeV-1 cm-2 s-1", reference="1 GeV")
    model.index.min, model.index.max = -20, 20
    return model, [{"index": x} for x in (-2.0, 0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 6.0)]


def _log_parabola(low: float, high: float) -> tuple[Any, list[dict[str, float]]]:
    from villard.modeling.models import LogParabolaSpectralModel

    model = LogParabolaSpectralModel(amplitude="1e-12 MeV-1 cm-2 s-1", reference="1 GeV", beta=0.1)
    model.alpha.min, model.alpha.max, model.beta.min, model.beta.max = -100, 100, -10, 50
    # Bumps of all widths at all energies: α = 2 - 2 β ln(peak / 1 GeV).
    starts = [{"alpha": x, "beta": 0.0} for x in (1.0, 2.0, 2.5, 3.0, 4.0)]
    for beta in (0.1, 0.5, 2.0, 5.0):
        starts += [
            {"alpha": 2 - 2 * beta * np.log(peak), "beta": beta} for peak in np.geomspace(0.1, 1e3, 13)
        ]
    return model, starts


def _cutoff(low: float, high: float) -> tuple[Any, list[dict[str, float]]]:
    from villard.modeling.models import ExpCutoffPowerLaw3FGLSpectralModel

    model = ExpCutoffPowerLaw3FGLSpectralModel(
        amplitude="1e-12 MeV-1 cm-2 s-1", reference="1 GeV", index=2, ecut="10 GeV"
    )
    # Far from the data a cutoff means nothing, and amplitudes overflow.
    model.index.min, model.index.max = -20, 20
    model.ecut.min, model.ecut.max = low / 20, 1e4 * high
    cutoffs = low * np.array([0.2, 0.6, 2.0, 6.0, 20.0, 60.0, 200.0, 2000.0])
    return model, [{"index": x, "ecut": c} for x in (-6.0, -4.0, -2.0, 0.0, 1.0, 2.0, 2.5) for c in cutoffs]


_SPECTRA = {"PowerLaw": _power_law, "LogParabola": _log_parabola, "PLExpCutoff": _cutoff}


def test_spectra(
    data: CastroData | Sequence[CastroData],
    spectra: Sequence[str] | None = None,  # noqa: PT028 - no test: the name is fermipy's
) -> dict[str, SpectrumFit]:
    """Fit a power law, a log-parabola and a power law with exponential cutoff, from many starts.

    Parameters
    ----------
    data : `CastroData` or list of them
        Profiles.
    spectra : list of {"PowerLaw", "LogParabola", "PLExpCutoff"}, optional
        Spectra; all by default. Their reference energy is 1 GeV, as in fermipy.

    Returns
    -------
    dict of str to `SpectrumFit`
        The fits.
    """
    names = list(_SPECTRA) if spectra is None else list(spectra)
    targets = [data] if isinstance(data, CastroData) else list(data)
    low = min(float(d.points.energy_min[0].to_value("GeV")) for d in targets)
    high = max(float(d.points.energy_max[-1].to_value("GeV")) for d in targets)
    result = {}
    for name in names:
        if name not in _SPECTRA:
            raise ConfigError(f"Castro data: unknown spectrum {name!r}. {nearest(name, _SPECTRA)}")
        model, starts = _SPECTRA[name](low, high)
        result[name] = fit_spectrum(data, model, starts)
    return result


test_spectra.__test__ = False  # type: ignore[attr-defined]
