"""Which of our spectra are which of gtlike's, and how their parameters translate."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import astropy.units as u

from villard.exceptions import ModelError

__all__ = ["SPECTRA", "Conversion", "Spectrum"]

_DNDE = "cm-2 s-1 MeV-1"


@dataclass(frozen=True)
class Conversion:
    """How a parameter of gtlike follows from one of ours.

    Its value is ``sign * (our value in unit) ** (-1 if inverse else 1) * factor(spectral model)``.

    Parameters
    ----------
    name : str
        Name in gtlike.
    ours : str or None
        Name of our parameter; `None` if our model has this one as a constant: ``value``, or ``factor``.
    unit : str
        Unit in which gtlike takes the value (or its inverse).
    sign : int
        Sign between both: gtlike's indices are negative where spectra fall.
    inverse : bool
        Whether the one is the inverse of the other.
    factor : callable, optional
        Function of our spectral model.
    value : float
        Value of a constant.
    """

    name: str
    ours: str | None
    unit: str = ""
    sign: int = 1
    inverse: bool = False
    factor: Callable[[Any], float] | None = None
    value: float = 1.0

    def slope(self, model: Any) -> float:
        """Return the factor besides unit and power."""
        return self.sign * (1.0 if self.factor is None else self.factor(model))

    def to_gtlike(self, model: Any, value: float) -> float:
        """Convert a value in our parameter's unit; limits may be NaN or infinite."""
        if self.ours is None:
            return self.value if self.factor is None else self.factor(model)
        parameter = model.parameters[self.ours]
        exponent = -1 if self.inverse else 1
        number = value * float(parameter.unit.to(u.Unit(self.unit) ** exponent))
        if self.inverse:
            number = math.copysign(math.inf, number) if number == 0 else 1 / number
        return self.slope(model) * number

    def from_gtlike(self, model: Any, value: float) -> float:
        """Convert a value of gtlike to our parameter's unit."""
        parameter = model.parameters[self.ours]
        number = value / self.slope(model)
        if self.inverse:
            number = math.copysign(math.inf, number) if number == 0 else 1 / number
        exponent = -1 if self.inverse else 1
        return number * float((u.Unit(self.unit) ** exponent).to(parameter.unit))


@dataclass(frozen=True)
class Spectrum:
    """One of our spectral models as one of gtlike's.

    Parameters
    ----------
    type : str
        Type in gtlike.
    model : str
        Name of our class.
    parameters : tuple of `Conversion`
        Parameters, in gtlike's order.
    norm : str
        The parameter (of gtlike) to which the flux is proportional.
    shape, index : tuple of str
        The parameters that fermipy calls shape and index.
    read : bool
        Whether this is the class that the type is read into.
    """

    type: str
    model: str
    parameters: tuple[Conversion, ...]
    norm: str
    shape: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    read: bool = True


def _number(model: Any, name: str, unit: str = "") -> float:
    return float(model.parameters[name].quantity.to_value(unit))


def _cutoff_at_pivot(model: Any) -> float:
    """Return exp((E0/Ec)^b): gtlike's prefactor isn't the flux at the pivot."""
    return _exp(model, (_number(model, "reference", "MeV") / _number(model, "ecut", "MeV")) ** _b(model))


def _expfactor_at_pivot(model: Any) -> float:
    """Return exp(a E0^b), E0 in MeV."""
    return _exp(model, _number(model, "expfactor") * _number(model, "reference", "MeV") ** _b(model))


def _exp(model: Any, exponent: float) -> float:
    if not abs(exponent) < 700:
        raise ModelError(
            f"{type(model).__name__}: the prefactor is exp({exponent:.4g}) times the flux at the reference"
        )
    return math.exp(exponent)


def _sign_of_break(model: Any) -> float:
    """Our smooth break always leads from index1 to index2; gtlike's does so for a Beta of this sign."""
    return 1.0 if _number(model, "index2") >= _number(model, "index1") else -1.0


def _b(model: Any) -> float:
    return _number(model, "index_2") if "index_2" in model.parameters.names else 1.0


def _mixture(position: int) -> Callable[[Any], float]:
    """Branching ratio (0) and channels (1, 2) of an annihilation."""

    def value(model: Any) -> float:
        from villard.modeling.models.gtlike.dark_matter import channel_mix

        return float(channel_mix(model)[position])

    return value


def _jfactor(model: Any) -> float:
    return float(model.jfactor.to_value("GeV2 cm-5"))


def _scale(name: str = "Scale", ours: str = "reference") -> Conversion:
    return Conversion(name, ours, "MeV")


def _prefactor(name: str = "Prefactor", unit: str = _DNDE, **kwargs: Any) -> Conversion:
    return Conversion(name, "amplitude", unit, **kwargs)


def _falling(name: str, ours: str) -> Conversion:
    return Conversion(name, ours, sign=-1)


_INDICES = ("Index1", "Index2")

SPECTRA: tuple[Spectrum, ...] = (
    Spectrum(
        "PowerLaw",
        "PowerLawSpectralModel",
        (_prefactor(), _falling("Index", "index"), _scale()),
        "Prefactor",
        ("Index",),
        ("Index",),
    ),
    Spectrum(
        "PowerLaw",
        "PowerLawNormSpectralModel",
        (Conversion("Prefactor", "norm"), _falling("Index", "tilt"), _scale()),
        "Prefactor",
        ("Index",),
        ("Index",),
        read=False,
    ),
    Spectrum(
        "PowerLaw2",
        "PowerLaw2SpectralModel",
        (
            _prefactor("Integral", "cm-2 s-1"),
            _falling("Index", "index"),
            _scale("LowerLimit", "emin"),
            _scale("UpperLimit", "emax"),
        ),
        "Integral",
        ("Index",),
        ("Index",),
    ),
    Spectrum(
        "LogParabola",
        "LogParabolaSpectralModel",
        (_prefactor("norm"), Conversion("alpha", "alpha"), Conversion("beta", "beta"), _scale("Eb")),
        "norm",
        ("alpha", "beta"),
        ("alpha", "beta"),
    ),
    Spectrum(
        "LogParabola",
        "LogParabolaNormSpectralModel",
        (
            Conversion("norm", "norm"),
            Conversion("alpha", "alpha"),
            Conversion("beta", "beta"),
            _scale("Eb"),
        ),
        "norm",
        ("alpha", "beta"),
        ("alpha", "beta"),
        read=False,
    ),
    Spectrum(
        "BrokenPowerLaw",
        "BrokenPowerLawSpectralModel",
        (
            _prefactor(),
            _falling("Index1", "index1"),
            _falling("Index2", "index2"),
            _scale("BreakValue", "ebreak"),
        ),
        "Prefactor",
        _INDICES,
        _INDICES,
    ),
    Spectrum(
        "SmoothBrokenPowerLaw",
        "SmoothBrokenPowerLawSpectralModel",
        (
            _prefactor(),
            _falling("Index1", "index1"),
            _scale(),
            _falling("Index2", "index2"),
            _scale("BreakValue", "ebreak"),
            Conversion("Beta", "beta", factor=_sign_of_break),
        ),
        "Prefactor",
        _INDICES,
        _INDICES,
    ),
    Spectrum(
        "PLSuperExpCutoff",
        "SuperExpCutoffPowerLawSpectralModel",
        (
            _prefactor(),
            _falling("Index1", "index_1"),
            _scale(),
            _scale("Cutoff", "ecut"),
            Conversion("Index2", "index_2"),
        ),
        "Prefactor",
        ("Index1", "Cutoff"),
        _INDICES,
    ),
    Spectrum(
        "PLSuperExpCutoff",
        "SuperExpCutoffPowerLaw3FGLSpectralModel",
        (
            _prefactor(factor=_cutoff_at_pivot),
            _falling("Index1", "index_1"),
            _scale(),
            _scale("Cutoff", "ecut"),
            Conversion("Index2", "index_2"),
        ),
        "Prefactor",
        ("Index1", "Cutoff"),
        _INDICES,
        read=False,
    ),
    Spectrum(
        "PLSuperExpCutoff",
        "ExpCutoffPowerLaw3FGLSpectralModel",
        (
            _prefactor(factor=_cutoff_at_pivot),
            _falling("Index1", "index"),
            _scale(),
            _scale("Cutoff", "ecut"),
            Conversion("Index2", None),
        ),
        "Prefactor",
        ("Index1", "Cutoff"),
        ("Index1",),
        read=False,
    ),
    Spectrum(
        "PLSuperExpCutoff",
        "ExpCutoffPowerLawSpectralModel",
        (
            _prefactor(),
            _falling("Index1", "index"),
            _scale(),
            Conversion("Cutoff", "lambda_", "MeV", inverse=True),
            Conversion("Index2", "alpha"),
        ),
        "Prefactor",
        ("Index1", "Cutoff"),
        _INDICES,
        read=False,
    ),
    Spectrum(
        "PLSuperExpCutoff2",
        "SuperExpCutoffPowerLaw2SpectralModel",
        (
            _prefactor(),
            _falling("Index1", "index_1"),
            _scale(),
            Conversion("Expfactor", "expfactor"),
            Conversion("Index2", "index_2"),
        ),
        "Prefactor",
        ("Index1", "Expfactor"),
        _INDICES,
    ),
    Spectrum(
        "PLSuperExpCutoff2",
        "SuperExpCutoffPowerLaw4FGLSpectralModel",
        (
            _prefactor(factor=_expfactor_at_pivot),
            _falling("Index1", "index_1"),
            _scale(),
            Conversion("Expfactor", "expfactor"),
            Conversion("Index2", "index_2"),
        ),
        "Prefactor",
        ("Index1", "Expfactor"),
        _INDICES,
        read=False,
    ),
    Spectrum(
        "PLSuperExpCutoff3",
        "SuperExpCutoffPowerLaw3SpectralModel",
        (
            _prefactor(),
            _falling("IndexS", "index_1"),
            _scale(),
            Conversion("Expfactor2", "expfactor"),
            Conversion("Index2", "index_2"),
        ),
        "Prefactor",
        ("IndexS", "Expfactor2"),
        ("IndexS", "Index2"),
    ),
    Spectrum(
        "PLSuperExpCutoff4",
        "SuperExpCutoffPowerLaw4FGLDR3SpectralModel",
        (
            _prefactor(),
            _falling("IndexS", "index_1"),
            _scale(),
            Conversion("ExpfactorS", "expfactor"),
            Conversion("Index2", "index_2"),
        ),
        "Prefactor",
        ("IndexS", "ExpfactorS"),
        ("IndexS", "Index2"),
    ),
    Spectrum(
        "ExpCutoff",
        "EBLCutoffPowerLawSpectralModel",
        (
            _prefactor(),
            _falling("Index", "index"),
            _scale(),
            _scale("Ebreak", "ebreak"),
            _scale("P1", "p1"),
            Conversion("P2", "p2"),
            Conversion("P3", "p3"),
        ),
        "Prefactor",
        ("Index",),
        ("Index",),
    ),
    Spectrum(
        "BPLExpCutoff",
        "EBLCutoffBrokenPowerLawSpectralModel",
        (
            _prefactor(),
            _falling("Index1", "index1"),
            _falling("Index2", "index2"),
            _scale("BreakValue", "ebreak"),
            _scale("Eabs", "eabs"),
            _scale("P1", "p1"),
        ),
        "Prefactor",
        _INDICES,
        _INDICES,
    ),
    Spectrum(
        "BandFunction",
        "BandSpectralModel",
        (
            _prefactor("norm"),
            Conversion("alpha", "alpha"),
            Conversion("beta", "beta"),
            _scale("Ep", "efold"),
            _scale(),
        ),
        "norm",
        ("alpha", "beta", "Ep"),
        ("alpha", "beta"),
    ),
    Spectrum(
        "Gaussian",
        "GaussianSpectralModel",
        (_prefactor(unit="cm-2 s-1"), _scale("Mean", "mean"), _scale("Sigma", "sigma")),
        "Prefactor",
        ("Mean", "Sigma"),
    ),
    Spectrum(
        "DMFitFunction",
        "DarkMatterAnnihilationSpectralModel",
        (
            Conversion("norm", None, factor=_jfactor),
            Conversion("sigmav", "sigmav", "cm3 s-1", factor=lambda model: _number(model, "scale")),
            Conversion("mass", "mass", "GeV"),
            Conversion("bratio", None, factor=_mixture(0)),
            Conversion("channel0", None, factor=_mixture(1)),
            Conversion("channel1", None, factor=_mixture(2)),
        ),
        "sigmav",
        ("mass",),
        ("mass",),
        read=False,
    ),
    Spectrum(
        "ConstantValue",
        "ConstantSpectralModel",
        (Conversion("Value", "const", _DNDE),),
        "Value",
    ),
)
