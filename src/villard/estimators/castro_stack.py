"""Several targets with one spectrum: their profiles stacked, limits on what they share.

The flux of a target is a common spectrum times a factor that is known with some uncertainty, such as
the J-factor of a dwarf galaxy in a search for dark matter. Limits on the norm of the common spectrum are from
the profile likelihood, in which each factor is refitted within its prior (Ackermann et al. 2015,
PRL 115, 231301, eq. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.estimators.castro import CastroData, delta_stat
from villard.estimators.castro_fit import as_sky_model, fold_spectrum
from villard.exceptions import ConfigError, DataError
from villard.likelihood.measurement import Measurement
from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.modeling.prior import Prior
from villard.utils.array import namespace
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.table import QTable

    from villard.estimators.norm_fit import NormFits

__all__ = ["CastroStack", "stack_profiles"]

Array = NDArray[np.float64]

#: Cross-section of a thermal relic, to which limits are compared.
THERMAL_SIGMAV = u.Quantity(3e-26, "cm3 s-1")
_N_STACKED, _RISE = 61, 25.0


class LogNormalFactorPrior(Prior):
    """Prior on the logarithm of a factor whose logarithm has a normal distribution."""

    defaults: ClassVar[dict[str, float]] = {"sigma": 1.0}

    @staticmethod
    def evaluate(value: Any, sigma: Any) -> Any:
        """-2 ln p."""
        return (value / sigma) ** 2


class NormalFactorPrior(Prior):
    """Prior on the logarithm of a factor that itself has a normal distribution around 1."""

    defaults: ClassVar[dict[str, float]] = {"sigma": 1.0}

    @staticmethod
    def evaluate(value: Any, sigma: Any) -> Any:
        """-2 ln p."""
        return ((10.0**value - 1) / sigma) ** 2


class LogNormalDensityPrior(Prior):
    """As `LogNormalFactorPrior`, as a density in the factor, which has 1/J in it."""

    defaults: ClassVar[dict[str, float]] = {"sigma": 1.0}

    @staticmethod
    def evaluate(value: Any, sigma: Any) -> Any:
        """-2 ln p."""
        return (value / sigma) ** 2 + 2 * np.log(10.0) * value


_PRIORS = {
    "lognormal": LogNormalFactorPrior,
    "gaussian": NormalFactorPrior,
    "lognormal-density": LogNormalDensityPrior,
}


class ScaledNormModel(SpectralModel):
    """Norm of the common spectrum times the factor of one target, at all energies."""

    tag = ["ScaledNormModel"]
    norm = Parameter("norm", "1 TeV-1 cm-2 s-1", is_norm=True, min=0)
    log_factor = Parameter("log_factor", 0.0)

    @staticmethod
    def evaluate(energy: Any, norm: Any, log_factor: Any) -> Any:
        """Norm of the target."""
        xp = namespace(energy, norm, log_factor)
        return norm * 10.0**log_factor * xp.ones_like(energy)


class CastroStack:
    """Likelihood profiles of several targets whose fluxes are one spectrum times a factor each.

    Parameters
    ----------
    targets : list of `CastroData`
        Profiles; their bins may differ.
    log10_factor : list of float, optional
        Decimal logarithms of the factors relative to the one that the spectrum is for; for J-factors,
        log10(J / J of the spectrum). 0 by default.
    sigma : float or list of float
        Errors of these: of log10 J, in dex; for the prior "gaussian" the relative error of J.
        0: the factor is exactly known.
    prior : {"lognormal", "gaussian", "lognormal-density"}
        "lognormal": a normal distribution of log10 J, as a likelihood (no 1/J), as in searches with dwarf
        galaxies; "gaussian": a normal distribution of J; "lognormal-density": the first as a density in J.

    Raises
    ------
    DataError
        If numbers don't fit.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import Table
    >>> from villard.estimators import FluxPoints
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> table = Table({"e_min": [1] * u.GeV, "e_max": [10] * u.GeV})
    >>> table["norm_scan"], table["norm"] = [np.linspace(0, 9, 19)], [0.0]
    >>> table["stat_scan"] = 4 * table["norm_scan"]
    >>> spectrum = PowerLawSpectralModel(index=2)
    >>> points = FluxPoints.from_table(table, sed_type="likelihood", reference_model=spectrum)
    >>> stack = CastroStack([CastroData(points), CastroData(points)], log10_factor=[0, np.log10(2)])
    >>> round(float(stack.limits([spectrum], 0.95)["norm_ul"][0]), 4)
    0.2255
    """

    def __init__(
        self,
        targets: Sequence[CastroData],
        log10_factor: Any = None,
        sigma: Any = 0.0,
        prior: str = "lognormal",
    ) -> None:
        self.targets = list(targets)
        n = len(self.targets)
        if not n:
            raise DataError("Stack: expected at least one target, found none")
        if prior not in _PRIORS:
            raise ConfigError(f"Stack: unknown prior {prior!r}. {nearest(prior, _PRIORS)}")
        self.prior = prior
        self.log10_factor = self._numbers("log10_factor", 0.0 if log10_factor is None else log10_factor, n)
        self.sigma = self._numbers("sigma", sigma, n)
        if np.any(self.sigma < 0):
            raise DataError(f"Stack: expected sigma of 0 or more, found {self.sigma.min():g}")

    @staticmethod
    def _numbers(name: str, values: Any, n: int) -> Array:
        array = np.asarray(values, dtype=float)
        if array.shape not in ((), (n,)) or not np.all(np.isfinite(array)):
            raise DataError(f"Stack: expected {n} finite numbers as {name}, found {values!r}")
        return np.array(np.broadcast_to(array, n))

    def predict(self, spectrum: Any) -> list[Array]:
        """Return the norms of a spectrum in the bins of each target, with the nominal factors."""
        sky = as_sky_model(spectrum)
        factors = 10.0**self.log10_factor
        return [f * fold_spectrum(t, sky) for f, t in zip(factors, self.targets, strict=True)]

    def limits(self, spectra: Sequence[Any], confidence: float = 0.95) -> QTable:
        """Fit the norm of spectra to all targets together, one after the other in one batch.

        Parameters
        ----------
        spectra : list of spectral models
            For example one per mass of the dark-matter particle. They are taken as they are, times the norm.
        confidence : float
            Confidence level of the upper limits, one-sided: -2 ln L, with the factors refitted, has risen
            by 2.71 there for 0.95.

        Returns
        -------
        `~astropy.table.QTable`
            A row per spectrum: ``norm`` (0 or more), ``norm_err``, ``norm_ul``, ``ts``, ``stat``, and
            ``log10_factor``, shape (n_targets,), the factors at the best fit.
        """
        from astropy.table import QTable

        level = np.sqrt(delta_stat(confidence))
        fits, scale = self._fits(spectra)
        null = fits.stat_at(np.zeros(1))[:, 0]
        table = QTable()
        table["norm"] = fits.norm * scale
        table["norm_err"] = fits.error * scale
        table["norm_ul"] = (fits.norm + fits.crossings(1, level)) * scale
        table["ts"] = np.maximum(null - fits.stat, 0.0)
        table["stat"] = fits.stat
        shifts = np.zeros((len(spectra), len(self.targets)))
        shifts[:, self.sigma > 0] = fits.theta[:, 1:]
        table["log10_factor"] = self.log10_factor + shifts
        table.meta["UL_CONF"] = confidence
        return table

    def profile(self, spectrum: Any, norms: Any) -> Array:
        """Return the rise of -2 ln L at norms of a spectrum above the best one, shape (n_norms,)."""
        fits, scale = self._fits([spectrum])
        return np.asarray(fits.stat_at(np.asarray(norms, dtype=float) / scale[0])[0] - fits.stat[0])

    def sigmav_limits(
        self,
        spectrum: Callable[[u.Quantity], Any],
        masses: Any,
        sigmav: u.Quantity | None = None,
        confidence: float = 0.95,
    ) -> QTable:
        """Limits on the annihilation cross-section of dark matter, for each mass.

        Parameters
        ----------
        spectrum : callable
            ``spectrum(mass)`` gives the spectral model of a mass, for the cross-section ``sigmav`` and the
            J-factor that `log10_factor` is relative to.
        masses : `~astropy.units.Quantity`
            Masses.
        sigmav : `~astropy.units.Quantity`, optional
            Cross-section times velocity that the spectra are for. By default that of their parameters
            ``sigmav`` and ``scale``, which those of `villard.astro.darkmatter` have; else 3e-26 cm3 s-1.
        confidence : float
            Confidence level.

        Returns
        -------
        `~astropy.table.QTable`
            As of `limits`, with ``mass``, ``sigmav`` and ``sigmav_ul``.
        """
        masses = u.Quantity(masses, ndmin=1)
        models = [spectrum(mass) for mass in masses]
        table = self.limits(models, confidence)
        table.add_column(masses, name="mass", index=0)
        unit = u.Quantity([_sigmav_of(model) if sigmav is None else sigmav for model in models])
        table["sigmav"], table["sigmav_ul"] = table["norm"] * unit, table["norm_ul"] * unit
        return table

    # Engine

    def _fits(self, spectra: Sequence[Any]) -> tuple[NormFits, Array]:
        """Fit the norms of all spectra; return them in units of a scale, shape (n_spectra,)."""
        from villard.estimators.norm_fit import NormFits
        from villard.likelihood.likelihood import Likelihood

        norms = [self.predict(spectrum) for spectrum in spectra]
        # For each target (n_spectra, n_bins).
        per_target = [np.stack([row[t] for row in norms]) for t in range(len(self.targets))]
        scale = self._scales(per_target)
        per_target = [norm * scale[:, None] for norm in per_target]
        models = self._models()
        measurements = [_measurement(f"target-{t}", target) for t, target in enumerate(self.targets)]
        likelihood = Likelihood(measurements, models)
        masks = [norm > 0 for norm in per_target]
        overrides = self._overrides(likelihood, per_target)
        fits = NormFits(likelihood, 0, masks, np.zeros(len(spectra)), overrides=overrides)
        return fits, scale

    def _scales(self, per_target: list[Array]) -> Array:
        """Norms at which the most constraining bin is at its limit, shape (n_spectra,)."""
        scale = np.full(len(per_target[0]), np.inf)
        for target, norm in zip(self.targets, per_target, strict=True):
            ratio = target.norm_ul(0.95) / np.where(norm > 0, norm, np.nan)
            scale = np.fmin(scale, np.nanmin(np.where(np.isfinite(ratio), ratio, np.inf), axis=1))
        bad = np.flatnonzero(~np.isfinite(scale))
        if len(bad):
            raise DataError(f"Stack: spectrum number {bad[0]} has no flux in the bins of any target")
        return scale

    def _models(self) -> list[Any]:
        from villard.modeling.models import SkyModel

        models: list[Any] = []
        for t, sigma in enumerate(self.sigma):
            spectrum = ScaledNormModel()
            if models:
                spectrum.norm = models[0].spectral_model.norm
            spectrum.log_factor.frozen = bool(sigma == 0)
            if sigma > 0:
                spectrum.log_factor.prior = _PRIORS[self.prior](sigma=sigma)
            models.append(SkyModel(spectrum, name=f"flux-{t}", datasets_names=[f"target-{t}"]))
        return models

    def _overrides(self, likelihood: Any, per_target: list[Array]) -> list[dict[str, Array]]:
        """Profiles by the common norm: those of the bins, stretched by the norms of the spectrum there."""
        overrides = []
        for block in likelihood.binding.blocks:
            knots, slopes = [], []
            for measurement in block.measurements:
                t = int(measurement.name.removeprefix("target-"))
                norm = np.where(per_target[t] > 0, per_target[t], 1.0)[:, None, :]
                roots = self.targets[t].roots
                knots.append(roots["knot"] / norm)
                slopes.append(roots["slope"] * norm)
            overrides.append({"knot": block.pack(knots), "slope": block.pack(slopes)})
        return overrides


def _sigmav_of(model: Any) -> u.Quantity:
    """Cross-section that a spectrum is for: that of its parameters, if it has one."""
    parameters = as_sky_model(model).spectral_model.parameters
    if "sigmav" not in parameters.names:
        return THERMAL_SIGMAV
    scale = parameters["scale"].value if "scale" in parameters.names else 1.0
    return parameters["sigmav"].quantity.to("cm3 s-1") * scale


def _measurement(name: str, target: CastroData) -> Measurement:
    one = np.ones(1)
    return Measurement(
        name=name,
        statistic="profile",
        data=target.roots,
        mask=np.ones(target.n_bins, dtype=bool),
        energy_min=one,
        energy_max=one,
        exposure=one,
        edisp=np.ones((1, target.n_bins)),
        differential=True,
    )


def stack_profiles(targets: Sequence[CastroData], weights: Any = None, name: str = "stack") -> CastroData:
    """Add the likelihood profiles of several targets bin by bin.

    Parameters
    ----------
    targets : list of `CastroData`
        Profiles in the same bins.
    weights : list of float, optional
        Flux of each target in units of the common one; 1 by default.
    name : str
        Name of the result.

    Returns
    -------
    `CastroData`
        Profiles of the common flux, whose reference is that of the first target.

    Raises
    ------
    DataError
        If bins differ, or weights aren't positive.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import Table
    >>> from villard.estimators import FluxPoints
    >>> table = Table({"e_min": [1] * u.GeV, "e_max": [10] * u.GeV})
    >>> table["norm_scan"], table["norm"] = [np.linspace(0, 9, 19)], [4.0]
    >>> table["stat_scan"] = (table["norm_scan"] - 4) ** 2
    >>> data = CastroData(FluxPoints.from_table(table, sed_type="likelihood"))
    >>> stack_profiles([data, data]).ts.round(4)
    array([32.])
    """
    from villard.estimators.flux_points import FluxPoints

    targets = list(targets)
    if not targets:
        raise DataError("Stack: expected at least one target, found none")
    first = targets[0]
    factors = CastroStack._numbers("weights", 1.0 if weights is None else weights, len(targets))
    if np.any(factors <= 0):
        raise DataError(f"Stack: expected positive weights, found {factors.min():g}")
    ratios = []
    for target, factor in zip(targets, factors, strict=True):
        same = target.n_bins == first.n_bins and all(
            u.allclose(getattr(target.points, x), getattr(first.points, x), rtol=1e-4)
            for x in ("energy_min", "energy_max")
        )
        if not same or target.quantity != first.quantity:
            raise DataError(f"Stack: the bins of {target!r} aren't those of {first!r}; use CastroStack")
        ratios.append(factor * first.reference / target.reference)

    def total(norm: Array) -> Array:
        return np.asarray(sum(t.stat(norm * r) for t, r in zip(targets, ratios, strict=True)))

    norm, stat, best = _tabulate(
        total, np.max([t.norm_ul() / r for t, r in zip(targets, ratios, strict=True)], 0)
    )
    at = total(best)
    arrays = {"norm": best, "stat": at, "norm_scan": norm.T.copy(), "stat_scan": stat.T.copy()}
    arrays["ts"] = total(np.zeros(first.n_bins)) - at
    points = FluxPoints._make(first.points._energies, arrays, first.points._reference, "likelihood", {}, None)
    return CastroData(points, name, first.quantity)


def _tabulate(total: Callable[[Array], Array], start: Array) -> tuple[Array, Array, Array]:
    """Minima of profiles, and a table from 0 to where they have risen enough; shapes (n_norm, n_bins)."""
    fractions = np.linspace(0, 1, _N_STACKED)[:, None]
    end, low = start.copy(), np.zeros_like(start)
    for _ in range(60):
        stat = total(fractions * end)
        short = stat[-1] - stat.min(axis=0) < _RISE
        if not np.any(short):
            break
        end = np.where(short, 1.5 * end, end)
    stat = total(fractions * end)
    index = np.argmin(stat, axis=0)
    low, high = (end * np.clip(index + s, 0, _N_STACKED - 1) / (_N_STACKED - 1) for s in (-1, 1))
    ratio = 0.5 * (np.sqrt(5) - 1)
    for _ in range(80):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        smaller = total(left) < total(right)
        low, high = np.where(smaller, low, left), np.where(smaller, right, high)
    best = 0.5 * (low + high)
    best = np.where(total(np.zeros_like(best)) <= total(best), 0.0, best)
    return fractions * end, stat, best
