"""The scalar singlet: limits of the theory, and published parts of annihilations."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest

from villard.astro.darkmatter import PrimaryFlux, ScalarSingletSpectralModel, singlet
from villard.exceptions import ModelError

REFERENCE = json.loads((Path(__file__).parents[1] / "reference/scalar_singlet.json").read_text())


@pytest.mark.parametrize(
    ("mass", "tolerances"),
    # Top quarks at 0.2 TeV are next to their threshold, where gluons between them add a third. What else the
    # tables have is tested below.
    [
        ("10.0", {"W": 1e-5, "Z": 1e-5, "h": 1e-5, "t": 5e-3}),
        ("0.3", {"W": 0.02, "Z": 0.03, "h": 0.07, "t": 0.02, "b": 0.15, "tau": 0.1}),
        ("0.2", {"W": 0.03, "Z": 0.04, "h": 0.06, "t": 0.3, "b": 0.15, "tau": 0.1}),
    ],
)
def test_fractions(mass, tolerances):
    found = singlet.fractions(float(mass), 0.1)
    for name, tolerance in tolerances.items():
        assert found[name] == pytest.approx(REFERENCE[mass][name], rel=tolerance)
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("mass", "tolerances"),
    [
        ("0.2", {"W": 0.005, "Z": 0.015, "h": 0.005, "t": 0.02}),
        ("0.3", {"W": 0.007, "Z": 0.003, "h": 0.01, "t": 0.04}),
        ("1.0", {"W": 0.03, "Z": 0.015, "h": 0.25}),
    ],
)
def test_loops_of_the_tables(mass, tolerances):
    """What the tables have beyond the tree level: the heavy Higgs boson's two-loop corrections.

    Frink et al. 1996, Phys. Rev. D 54, 4548. They are those of a real Higgs boson whose mass is √s.
    """
    x = (2e3 * float(mass)) ** 2 / (2 * singlet.VACUUM**2) / (16 * np.pi**2)
    factor = dict.fromkeys(singlet.CHANNELS, 1 + 2.12 * x - 32.66 * x**2)
    factor |= dict.fromkeys(("W", "Z"), 1 + 2.80 * x + 62.03 * x**2) | {"h": 1.0}
    if mass == "0.2":
        factor["t"] *= 1.35
    tree = singlet.fractions(float(mass), 0.1)
    total = sum(tree[name] * factor[name] for name in tree)
    for name, tolerance in tolerances.items():
        assert tree[name] * factor[name] / total == pytest.approx(REFERENCE[mass][name], rel=tolerance)
    # It was worse without.
    without = max(abs(tree[name] / REFERENCE[mass][name] - 1) for name in ("W", "Z", "h"))
    assert without > 2 * max(tolerances[name] for name in ("W", "Z"))


def test_high_masses():
    """Far above all thresholds the four fields of the Higgs doublet are alike: λ² / 16 π m² in all."""
    for mass, coupling in ((30.0, 0.1), (50.0, 2.0)):
        found = singlet.fractions(mass, coupling)
        assert found["W"] == pytest.approx(0.5, abs=1e-3)
        assert found["Z"] == pytest.approx(0.25, abs=1e-3)
        wanted = coupling**2 / (16 * np.pi * (mass * 1e3) ** 2) * 1.1673e-17
        assert singlet.sigma_v(mass, coupling) == pytest.approx(wanted, rel=2e-3)
    # At 1 TeV they are within 3 % of that, whatever the width of the Higgs boson is made of.
    found = singlet.fractions(1.0, 0.1)
    assert found["h"] / found["W"] == pytest.approx(0.5, abs=0.03)


def test_widths_of_the_higgs_boson():
    """At its own mass: LHC Higgs working group, CERN-2017-002-M, for 125.25 GeV, in MeV."""
    log_mass, widths = singlet.width_table()
    energy = 125.25
    at = np.array([np.interp(np.log(energy / 2e3), log_mass, row) for row in widths.T]) * energy**3 * 1e3
    found = dict(zip(singlet.S_CHANNELS, at, strict=True))
    for name, wanted, tolerance in (
        ("tau", 0.256, 0.03),
        ("mu", 8.9e-4, 0.05),
        ("W", 0.89, 0.05),
        ("Z", 0.109, 0.07),
        ("b", 2.38, 0.05),
    ):
        assert found[name] == pytest.approx(wanted, rel=tolerance)


def test_virtual_bosons():
    """Far above the threshold the width is that of real bosons, and it has no step there."""
    log_mass, widths = singlet.width_table()
    energy = 2e3 * np.exp(log_mass)
    x = (80.377 / energy) ** 2
    real = 2 / (32 * np.pi * 246.22**2) * np.sqrt(np.maximum(1 - 4 * x, 0)) * (1 - 4 * x + 12 * x**2)
    far = energy > 400
    assert widths[far, 5] == pytest.approx(real[far], rel=0.01)
    near = (energy > 100) & (energy < 250)
    assert np.all(np.diff(np.log(widths[near, 5])) > 0)
    assert np.max(np.diff(np.log(widths[near, 5]))) < 0.5


def test_thresholds():
    below, above = (singlet.fractions(m, 0.1) for m in (0.124, 0.127))
    assert below["h"] == 0
    assert above["h"] > 0.03
    assert singlet.fractions(0.17, 0.1)["t"] == 0
    assert singlet.fractions(0.02, 0.1)["b"] > 0.8
    # The coupling changes the shape through the exchange of S.
    weak, strong = (singlet.fractions(0.2, coupling)["h"] for coupling in (0.01, 1.0))
    assert weak > 1.5 * strong
    # At the resonance the cross-section is huge.
    assert singlet.sigma_v(0.0626, 0.01) > 1e3 * singlet.sigma_v(0.07, 0.01)


def test_spectrum():
    """It is the sum of the channels, with the bosons by their polarisation."""
    model = ScalarSingletSpectralModel("0.5 TeV", 0.1, source="analytic", jfactor="1e20 GeV2 cm-5")
    fractions = dict(model.fractions)
    total = 0
    for name, mass in (("W", 80.377), ("Z", 91.1876)):
        x = (mass / 1000) ** 2
        transverse = 8 * x**2 / (1 - 4 * x + 12 * x**2)
        part = fractions.pop(name)
        fractions |= {f"{name}T": part * transverse, f"{name}L": part * (1 - transverse)}
    for name, part in fractions.items():
        total = total + part * PrimaryFlux("0.5 TeV", name, "analytic")([0.03, 0.1, 0.4] * u.TeV)
    wanted = total * 3e-26 * u.Unit("cm3 s-1") * 1e20 * u.Unit("GeV2 cm-5") / (8 * np.pi * (0.5 * u.TeV) ** 2)
    found = model([0.03, 0.1, 0.4] * u.TeV)
    assert found.value == pytest.approx(wanted.to_value("cm-2 s-1 TeV-1"), rel=1e-9)
    assert model.channel == model.fractions
    assert model.parameters.free_parameters.names == ["sigmav", "mass"]
    model.mass.value = 2
    assert model.tree_level_sigmav.to_value("cm3 s-1") == pytest.approx(singlet.sigma_v(2.0, 0.1))


def test_wrong_input():
    with pytest.raises(ModelError, match="has no parameter"):
        ScalarSingletSpectralModel("1 TeV", 0.1).reassign(couplng=2)
