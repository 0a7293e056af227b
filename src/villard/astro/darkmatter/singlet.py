r"""The scalar singlet with a Z2 symmetry: annihilation at rest from the theory at tree level.

The standard model plus a real scalar S of mass m with :math:`\mathcal L = -\frac 1 2 \lambda\, S^2 |H|^2`.
Pairs of S annihilate through a virtual Higgs boson, and into two Higgs bosons also by the contact and the
exchange of S (Cline, Kainulainen, Scott & Weniger 2013, Phys. Rev. D 88, 055025, eqs. 8 and A4). At rest,
s = 4 m²:

.. math::
    \sigma v(SS \to X) &= \frac{2 \lambda^2 v_0^2}{\sqrt s}
        \frac{\Gamma(h^*(\sqrt s) \to X)}{(s - m_h^2)^2 + m_h^2 \Gamma_h^2} \\
    \sigma v(SS \to hh) &= \frac{\lambda^2}{64 \pi m^2} \sqrt{1 - \frac{m_h^2}{m^2}}
        \left[1 + \frac{3 m_h^2}{s - m_h^2} - \frac{2 \lambda v_0^2}{2 m^2 - m_h^2}\right]^2

Widths of a Higgs boson of mass √s are those of Djouadi 2008, Phys. Rep. 457, 1: eq. 2.6 for leptons and the
top quark (pole mass), with running masses (Chetyrkin 1997, Phys. Lett. B 404, 161) and the largest QCD
correction for lighter quarks, and eq. 2.20 for W and Z: the integral over the virtualities of both, so that
below their thresholds decays into three and four bodies count. Loops are left out: gluons (8 % where √s is
the Higgs boson's mass, less than 1 % above 200 GeV), two photons, and QCD corrections to top quarks next to
their threshold (+35 % at m = 200 GeV).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.utils.array import namespace

__all__ = ["CHANNELS", "fractions", "relative_rates", "sigma_v", "width_table"]

Array = NDArray[np.float64]

#: Masses and widths (GeV) of the Particle Data Group 2022, and the vacuum expectation value.
HIGGS_MASS, HIGGS_WIDTH, VACUUM = 125.25, 4.1e-3, 246.22
_BOSONS = {"W": (80.377, 2.085, 2), "Z": (91.1876, 2.4952, 1)}
_LEPTONS = {"mu": 0.105658, "tau": 1.77686}
#: Pole masses, and MSbar masses at themselves.
_QUARKS = {"c": (1.67, 1.27), "b": (4.78, 4.18)}
_TOP_MASS = 172.7
#: Channels through the virtual Higgs boson, and all of them.
S_CHANNELS = ("mu", "tau", "c", "b", "t", "W", "Z")
CHANNELS = (*S_CHANNELS, "h")
_ALPHA_MZ = 0.118
#: GeV-2 in cm3 s-1.
_GEV2_CM3_S = 1.16733e-17
_N_MASS, _MASS_MIN, _MASS_MAX = 900, 4.9, 1.01e5


def _alpha_s(scale: Array) -> Array:
    """Return the strong coupling at one loop with five flavours."""
    return np.asarray(_ALPHA_MZ / (1 + _ALPHA_MZ * 23 / (6 * np.pi) * np.log(scale / 91.1876)))


def _fermion_width(energy: Array, mass: float, colours: int, coupling: Any = None) -> Array:
    """Return the width (GeV) into a pair of fermions; ``coupling`` is the mass in the Yukawa coupling."""
    beta2 = np.maximum(1 - 4 * mass**2 / energy**2, 0.0)
    yukawa = mass if coupling is None else coupling
    return np.asarray(colours * yukawa**2 * energy * beta2**1.5 / (8 * np.pi * VACUUM**2))


def _running(alpha: Array) -> Array:
    a = alpha / np.pi
    return np.asarray(a ** (12 / 23) * (1 + 1.17549 * a + 1.50071 * a**2))


def _quark_width(energy: Array, pole: float, own: float) -> Array:
    scale = np.maximum(energy, 2 * pole)
    alpha = _alpha_s(scale)
    running = own * _running(alpha) / _running(_alpha_s(np.array(own)))
    return _fermion_width(energy, pole, 3, running) * (1 + 5.67 * alpha / np.pi)


def _boson_width(energy: Array, mass: float, width: float, delta: int) -> Array:
    """Return the width (GeV) into two bosons, integrated over the virtualities of both."""
    x, w = np.polynomial.legendre.leggauss(48)

    def nodes(low: Array, high: Array) -> tuple[Array, Array]:
        # In this angle the resonance is flat.
        first, last = (np.arctan((q**2 - mass**2) / (mass * width)) for q in (low, high))
        angle = first[..., None] + 0.5 * (last - first)[..., None] * (x + 1)
        q2 = mass**2 + mass * width * np.tan(angle)
        return np.maximum(q2, 0.0), 0.5 * (last - first)[..., None] * w / np.pi

    s = energy**2
    q1, w1 = nodes(np.zeros_like(energy), energy)
    # The half in which the second boson is the lighter one.
    first = np.sqrt(q1)
    q2, w2 = nodes(np.zeros_like(q1), np.clip(energy[:, None] - first, 0.0, first))
    a, b = q1[..., None] / s[:, None, None], q2 / s[:, None, None]
    lam = np.maximum((1 - a - b) ** 2 - 4 * a * b, 0.0)
    value = np.sqrt(lam) * (lam + 12 * a * b)
    # The resonance of the whole line, of which a part is at negative virtualities.
    norm = (0.5 + np.arctan(mass / width) / np.pi) ** 2
    total = 2 * np.einsum("nij,ni,nij->n", value, w1, w2) / norm
    return np.asarray(delta * energy**3 / (32 * np.pi * VACUUM**2) * total)


@lru_cache(maxsize=1)
def width_table() -> tuple[Array, Array]:
    """Return logarithms of the mass of S (TeV), and widths at √s = 2 m over (√s)³ (GeV-2), shape (n, 7)."""
    mass = np.geomspace(_MASS_MIN, _MASS_MAX, _N_MASS)
    energy = 2 * mass
    widths = [_fermion_width(energy, m, 1) for m in _LEPTONS.values()]
    widths += [_quark_width(energy, *m) for m in _QUARKS.values()]
    widths.append(_fermion_width(energy, _TOP_MASS, 3))
    widths += [_boson_width(energy, *values) for values in _BOSONS.values()]
    return np.log(mass * 1e-3), np.stack(widths, axis=-1) / energy[:, None] ** 3


def relative_rates(mass: Any, coupling: Any, log_mass: Any, widths: Any) -> list[Any]:
    """Return σv / λ² (GeV-2) of each of `CHANNELS`; without Γ_h, which only matters at m = m_h / 2.

    Parameters
    ----------
    mass, coupling : array
        Mass of S (TeV) and portal coupling λ.
    log_mass, widths : array
        Of `width_table`.
    """
    xp = namespace(mass, coupling, log_mass, widths)
    widths = xp.asarray(widths)
    gev = mass * 1e3
    s = 4 * gev**2
    at = (xp.log(mass) - log_mass[0]) / (log_mass[1] - log_mass[0])
    i = xp.clip(xp.floor(at), 0, len(log_mass) - 2).astype(int)
    part = xp.clip(at - i, 0.0, 1.0)
    pole = (s - HIGGS_MASS**2) ** 2 + (HIGGS_MASS * HIGGS_WIDTH) ** 2
    rates = [
        2 * VACUUM**2 * s / pole * ((1 - part) * widths[i, k] + part * widths[i + 1, k])
        for k in range(len(S_CHANNELS))
    ]
    return [*rates, _two_higgs(gev, s, coupling, xp)]


def _two_higgs(mass: Any, s: Any, coupling: Any, xp: Any) -> Any:
    above = mass > HIGGS_MASS
    # Below the threshold any other mass keeps numbers and derivatives finite.
    safe, energy2 = xp.where(above, mass, 2 * HIGGS_MASS), xp.where(above, s, 16 * HIGGS_MASS**2)
    amplitude = 1 + 3 * HIGGS_MASS**2 / (energy2 - HIGGS_MASS**2)
    amplitude = amplitude - 2 * coupling * VACUUM**2 / (2 * safe**2 - HIGGS_MASS**2)
    rate = xp.sqrt(1 - (HIGGS_MASS / safe) ** 2) * amplitude**2 / (64 * math.pi * safe**2)
    return xp.where(above, rate, 0.0)


def fractions(mass: float, coupling: float) -> dict[str, float]:
    """Return the part of annihilations at rest that goes into each channel.

    Parameters
    ----------
    mass : float
        Mass of S (TeV), from 5 GeV to 100 TeV.
    coupling : float
        Portal coupling λ.

    Examples
    --------
    >>> found = fractions(10.0, 0.1)
    >>> {name: round(found[name], 3) for name in ("W", "Z", "h")}
    {'W': 0.5, 'Z': 0.25, 'h': 0.25}
    """
    rates = np.array(relative_rates(float(mass), float(coupling), *width_table()))
    return dict(zip(CHANNELS, (rates / rates.sum()).tolist(), strict=True))


def sigma_v(mass: float, coupling: float) -> float:
    """Return σv at rest (cm3 s-1).

    Near m = m_h / 2 the velocities of dark matter, which aren't accounted for, matter more than the width of
    the Higgs boson, to which its decay into S is added.

    Parameters
    ----------
    mass : float
        Mass of S (TeV).
    coupling : float
        Portal coupling λ.
    """
    rates = np.array(relative_rates(float(mass), float(coupling), *width_table()))
    gev = mass * 1e3
    s = 4 * gev**2
    width = HIGGS_WIDTH
    if 2 * gev < HIGGS_MASS:
        beta = math.sqrt(1 - s / HIGGS_MASS**2)
        width += coupling**2 * VACUUM**2 * beta / (32 * math.pi * HIGGS_MASS)
    pole = (s - HIGGS_MASS**2) ** 2
    rates[:-1] *= (pole + (HIGGS_MASS * HIGGS_WIDTH) ** 2) / (pole + (HIGGS_MASS * width) ** 2)
    return float(coupling**2 * rates.sum() * _GEV2_CM3_S)
