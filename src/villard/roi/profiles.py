"""Profiles of the likelihood along a parameter, bands of spectra, and their curvature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, FitError, ParameterError
from villard.modeling.models.gtlike import find_parameter, norm_parameter, shape_parameters
from villard.modeling.models.spectral.errors import linear_errors
from villard.roi.derived import UPPER_LIMIT_95
from villard.roi.fluxes import flux_results, held_parameters
from villard.roi.options import numbers_of, options
from villard.roi.profiling import Profiler

__all__ = ["Profiles"]

Array = NDArray[np.float64]

#: Scans reach out to where ln L has fallen by so much: 99 % of a Gaussian on both sides.
_SCAN_RISE = 6.634896601021213
_CURVATURE = {"Index2": 0.6667, "free_Index2": False}
_TO_MEV = 1e-6


class Profiles:
    """Profiles, bands and curvature of spectra, for `villard.roi.ROI`."""

    def profile_norm(
        self,
        name: str,
        npts: int | None = None,
        reoptimize: bool = False,
        xvals: Any = None,
        fix_shape: bool = True,
        logemin: float | None = None,
        logemax: float | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the likelihood along the norm of a source.

        Parameters
        ----------
        name : str
            Source.
        npts : int
            Number of values (20), from where ln L has fallen by 3.3 to where it has again.
        reoptimize : bool
            Whether the other free parameters are refitted.
        xvals : array, optional
            Values of the norm, in its unit.
        fix_shape : bool
            Whether shapes of all sources are held.
        logemin, logemax : float, optional
            Range of log10(energy / MeV) of the likelihood, the counts and the fluxes.
        **kwargs : dict
            ``savestate``, kept for scripts of fermipy: models are never changed.

        Returns
        -------
        dict
            ``xvals`` (norm in its unit), ``npred``, ``npred_wt``, ``dnde`` (at the energy of reference,
            cm-2 s-1 MeV-1), ``flux``, ``eflux``, ``loglike``, ``dloglike`` (0 at the highest value of the
            scan), each of shape (npts,).
        """
        _no_more("profile_norm", kwargs, _PROFILE_NORM)
        source = self[name]  # type: ignore[index]
        norm = norm_parameter(source.model)
        count = int(options(self, "gtlike", {"llscan_npts": 20}, {})["llscan_npts"] if npts is None else npts)
        xvals = _checked(count, xvals)
        with _range(self, logemin, logemax) as energies:
            with _bound(self, norm, reoptimize, fix_shape) as bound:
                result = _scan(bound, norm, count, xvals)
            npred, npred_wt = self._npred(source)  # type: ignore[attr-defined]
        fluxes = flux_results(source, energies, 1.0)
        x = result["xvals"]
        # What is proportional to the norm: limits are those of a norm of one.
        unit = {"flux": fluxes["flux_ul95"], "eflux": fluxes["eflux_ul95"]}
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = x / norm.value if norm.value else np.full(len(x), np.nan)
        return {
            **result,
            "npred": ratio * npred,
            "npred_wt": ratio * npred_wt,
            "dnde": ratio * fluxes["dnde"],
            "flux": x * unit["flux"],
            "eflux": x * unit["eflux"],
        }

    def profile(
        self,
        name: str,
        parName: str,
        npts: int = 20,
        reoptimize: bool = True,
        xvals: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the likelihood along any parameter of a source; the others are refitted.

        Parameters
        ----------
        name : str
            Source.
        parName : str
            Parameter, by our name or gtlike's.
        npts : int
            Number of values, as for `profile_norm`.
        reoptimize : bool
            Whether the other free parameters are refitted.
        xvals : array, optional
            Values in the parameter's own unit.
        **kwargs : dict
            ``savestate``, kept for scripts of fermipy: models are never changed.

        Returns
        -------
        dict
            ``xvals``, ``loglike``, ``dloglike``, shape (npts,); ``best``, ``err_lo``, ``err_hi``, ``ul95``,
            where the profile is highest, the distances at which it has fallen by ½, and its one-sided upper
            limit of 95 % (NaN where it doesn't fall so far).
        """
        _no_more("profile", kwargs, _PROFILE)
        parameter = find_parameter(self[name].model, parName)  # type: ignore[index]
        xvals = _checked(npts, xvals)
        with _bound(self, parameter, reoptimize, False) as bound:
            result = _scan(bound, parameter, npts, xvals)
            column, profiler = bound
            factor = profiler.likelihood.to_values(np.ones(profiler.likelihood.n_free))[column]
            limits = []
            for rise, side in ((1.0, -1), (1.0, 1), (UPPER_LIMIT_95, 1)):
                x, found = profiler.limits([column], rise, side)
                limits.append(float(x[0] * factor) if found[0] else np.nan)
        best = float(profiler.theta[column] * factor)
        return {
            **result,
            "best": best,
            "err_lo": best - limits[0],
            "err_hi": limits[1] - best,
            "ul95": limits[2],
        }

    def bowtie(self, name: str, fd: Any = None, loge: Any = None) -> dict[str, Any]:
        """Return the spectrum of a source with its error, from the covariance of the last fit.

        Parameters
        ----------
        name : str
            Source.
        fd : object
            Kept for scripts of fermipy.
        loge : array, optional
            log10(energy / MeV); by default 50 energies over the range of the region.

        Returns
        -------
        dict
            ``energies`` (MeV), ``dnde``, ``dnde_lo`` = dnde / (1 + e), ``dnde_hi`` = dnde (1 + e) where e is
            the relative error, ``dnde_ferr`` = (dnde_hi - dnde_lo) / (2 dnde), in cm-2 s-1 MeV-1, and
            ``pivot_energy`` (MeV), where that is smallest.
        """
        spectrum = self[name].spectral_model  # type: ignore[index]
        if loge is None:
            low, high = self.energy_bounds.to_value("MeV")  # type: ignore[attr-defined]
            loge = np.linspace(np.log10(low), np.log10(high), 50)
        energy = 10.0 ** np.atleast_1d(numbers_of(loge, "bowtie: loge"))
        held = held_parameters(spectrum)
        value, error, _ = linear_errors(spectrum, "evaluate", (energy * _TO_MEV,), held) * _TO_MEV
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = error / value
        high_edge, low_edge = value * (1 + relative), value / (1 + relative)
        ferr = 0.5 * (high_edge - low_edge) / value
        has_error = bool(np.any(np.isfinite(relative) & (relative > 0)))
        pivot = float(energy[int(np.nanargmin(ferr))]) if has_error else float("nan")
        return {
            "energies": energy,
            "loge": np.log10(energy),
            "dnde": value,
            "dnde_lo": low_edge,
            "dnde_hi": high_edge,
            "dnde_ferr": ferr,
            "pivot_energy": pivot,
        }

    def curvature(self, name: str, **kwargs: Any) -> dict[str, Any]:
        """Compare a power law for a source with a log parabola and with an exponential cutoff.

        The free parameters of the other sources are refitted with each. Models end as they were.

        Parameters
        ----------
        name : str
            Source.
        **kwargs : dict
            ``Index2``: exponent of the cutoff (0.6667); ``free_Index2``: whether a fit that frees it follows.

        Returns
        -------
        dict
            ``loglike_pl``, ``loglike_lp``, ``loglike_ple``, ``lp_ts_curv`` and ``ple_ts_curv``, twice the
            gains in ln L over the power law; with ``free_Index2`` also ``loglike_ple_free_ind2`` and
            ``ple_free_ind2_ts_curv``; ``config``.

        Raises
        ------
        FitError
            If a fit doesn't converge.
        ModelError
            If the spectrum is no flux, but a factor on a template.
        """
        from villard.roi.sed import check_source

        settings = options(self, "curvature", _CURVATURE, kwargs)
        check_source(self[name], "curvature")  # type: ignore[index]
        return {**_curvature(self, self[name], settings), "config": settings}  # type: ignore[index]


_PROFILE = ("npts", "reoptimize", "xvals", "savestate")
_PROFILE_NORM = (*_PROFILE, "fix_shape", "logemin", "logemax")


def _no_more(method: str, given: Any, allowed: tuple[str, ...]) -> None:
    from villard.utils.names import nearest

    for key in given:
        # All others are arguments of their own.
        if key != "savestate":
            raise ConfigError(f"{method}: no setting {key!r}. {nearest(key, allowed)}")


@contextmanager
def _range(roi: Any, logemin: float | None, logemax: float | None) -> Iterator[u.Quantity]:
    """Limit the energies of the likelihood; yield the lowest and the highest."""
    from villard.roi.options import energy_range
    from villard.roi.view import excluded

    if logemin is None and logemax is None:
        yield roi.energy_bounds
        return
    low, high = np.log10(roi.energy_bounds.to_value("MeV"))
    bounds = [low if logemin is None else logemin, high if logemax is None else logemax]
    chosen = energy_range(roi, bounds, "profile_norm")
    edges = [
        dataset.geom.axes["energy"]
        .edges[[np.argmax(bins), len(bins) - np.argmax(bins[::-1])]]
        .to_value("MeV")
        for dataset, bins in zip(roi.datasets, chosen or [], strict=True)
        if bins.any()
    ]
    with excluded(roi, energies=chosen):
        yield u.Quantity([np.min(edges), np.max(edges)], "MeV")


@contextmanager
def _bound(roi: Any, parameter: Any, reoptimize: bool, fix_shape: bool) -> Iterator[tuple[int, Profiler]]:
    """Bind a region with a parameter that is free; yield its column and profiles."""
    from villard.likelihood import bind

    held = {id(p) for s in roi.sources for p in shape_parameters(s.model)} if fix_shape else set()
    before = [(p, p.frozen) for p in roi.parameters]
    try:
        for p, _ in before:
            if id(p) in held or not reoptimize:
                p.frozen = True
        parameter.frozen = False
        likelihood = bind(roi.datasets, roi.models)
    finally:
        for p, frozen in before:
            p.frozen = frozen
    columns = [i for i, p in enumerate(likelihood.parameters) if p is parameter]
    if not columns:
        raise ParameterError(f"{parameter.name!r} is no parameter of the region's sources")
    # The present values need not be the maximum: of a parameter that was held, or of fewer energies.
    solution = likelihood.minimize()
    yield columns[0], Profiler(likelihood, solution.theta if solution.success else None)


def _checked(npts: int, xvals: Any) -> Array | None:
    """Return the values of a scan, before anything is computed."""
    if xvals is None:
        if npts < 2:
            raise ConfigError(f"npts: expected at least 2, found {npts}")
        return None
    x = np.atleast_1d(numbers_of(xvals, "xvals"))
    if x.ndim != 1 or not x.size or not np.all(np.isfinite(x)):
        raise ConfigError(f"xvals: expected finite numbers in one dimension, found {xvals!r}")
    return x


def _scan(bound: tuple[int, Profiler], parameter: Any, npts: int, xvals: Any) -> dict[str, Array]:
    column, profiler = bound
    likelihood = profiler.likelihood
    factor = likelihood.to_values(np.ones(likelihood.n_free))[column]
    if xvals is None:
        ends = []
        for side in (-1, 1):
            x, _ = profiler.limits([column], _SCAN_RISE, side)
            fallback = profiler.theta[column] + side * 3 * profiler.sigma([column])[0]
            low, high = (bound[column] for bound in likelihood.bounds)
            ends.append(float(x[0]) if np.isfinite(x[0]) else float(np.clip(fallback, low, high)))
        x = np.linspace(ends[0], ends[1], npts)
    else:
        x = np.atleast_1d(xvals) / factor
    stat, _, _ = profiler.values(np.full(len(x), column), x)
    loglike = -0.5 * stat
    return {"xvals": x * factor, "loglike": loglike, "dloglike": loglike - loglike.max()}


def _curvature(roi: Any, source: Any, settings: dict[str, Any]) -> dict[str, Any]:
    from villard.modeling.models import (
        LogParabolaSpectralModel,
        PowerLawSpectralModel,
        SuperExpCutoffPowerLaw4FGLDR3SpectralModel,
    )

    model = source.model
    before = model.spectral_model
    pivot = _reference(roi, source)
    value = before(pivot)
    index = float(np.clip(before.spectral_index(pivot), 0.5, 5.0))
    values = [(p, p.value) for p in roi.parameters]
    result: dict[str, Any] = {}

    def fit(key: str, spectrum: Any) -> Any:
        spectrum.amplitude.min = 0
        spectrum.reference.frozen = True
        model.spectral_model = spectrum
        result[f"loglike_{key}"] = _refit(roi, f"{source.name}, {key}")
        return spectrum

    try:
        law = fit("pl", PowerLawSpectralModel(index=index, amplitude=value, reference=pivot))
        amplitude, index = law.amplitude.quantity, law.index.value
        fit("lp", LogParabolaSpectralModel(amplitude=amplitude, reference=pivot, alpha=index, beta=0.05))
        ple = SuperExpCutoffPowerLaw4FGLDR3SpectralModel(
            amplitude=amplitude,
            reference=pivot,
            index_1=index,
            index_2=settings["Index2"],
            expfactor=0.05,
        )
        ple.index_2.frozen = True
        fit("ple", ple)
        if settings["free_Index2"]:
            ple.index_2.frozen = False
            fit("ple_free_ind2", ple)
    finally:
        model.spectral_model = before
        for parameter, old in values:
            parameter.value = old
    keys = {"lp": "lp_ts_curv", "ple": "ple_ts_curv", "ple_free_ind2": "ple_free_ind2_ts_curv"}
    for key, name in keys.items():
        if f"loglike_{key}" in result:
            result[name] = 2 * (result[f"loglike_{key}"] - result["loglike_pl"])
    return result


def _reference(roi: Any, source: Any) -> u.Quantity:
    names = source.spectral_model.parameters.names
    if "reference" in names:
        return source.spectral_model.parameters["reference"].quantity
    low, high = roi.energy_bounds
    return np.sqrt(low * high)


def _refit(roi: Any, what: str) -> float:
    """Fit all free parameters, keep the values, return ln L."""
    from villard.likelihood import bind

    likelihood = bind(roi.datasets, roi.models)
    solution = likelihood.minimize()
    if not solution.success:
        raise FitError(f"curvature: the fit of {what} failed: {solution.status.message}")
    likelihood.set_values(solution.theta)
    return -0.5 * solution.value
