"""Spectra of annihilation and decay: tables, the built-in parametrisation, derivatives, files."""

import astropy.units as u
import numpy as np
import pytest

from villard._jax import jax
from villard.astro.darkmatter import (
    DarkMatterAnnihilationSpectralModel,
    DarkMatterDecaySpectralModel,
    PrimaryFlux,
    ScalarSingletSpectralModel,
)
from villard.astro.darkmatter.analytic import BASE_CHANNELS, MIXED_CHANNELS, dnde_log_x, mass_range
from villard.astro.darkmatter.tables import CHANNELS, default_source, load_table
from villard.exceptions import DataError, FileFormatError, ModelError, UnitsError
from villard.modeling.models import Models, SkyModel

J = "3.41e19 GeV2 cm-5"
D = "3.41e19 GeV cm-2"


@pytest.fixture
def pppc4(gammapy_data):
    if not (gammapy_data / "dark_matter_spectra/PPPC4DMID/AtProduction_gammas.dat").is_file():
        pytest.skip("no tables of PPPC 4 DM ID in GAMMAPY_DATA")
    return "pppc4"


def annihilation(**kwargs):
    return DarkMatterAnnihilationSpectralModel("5 TeV", "b", jfactor=J, source="analytic", **kwargs)


def test_reference_values(pppc4):
    """Those of Gammapy 2.1 with the same table."""
    flux = PrimaryFlux("1 TeV", "W", pppc4)
    assert flux("500 GeV").to_value("GeV-1") == pytest.approx(9.3319318e-05, rel=1e-6)
    flux.mDM = 1.6 * u.TeV
    assert flux("500 GeV").to_value("GeV-1") == pytest.approx(0.00025037, rel=1e-5)
    model = DarkMatterAnnihilationSpectralModel(5 * u.TeV, "b", jfactor=J, source=pppc4)
    bounds = 0.01 * u.TeV, 10 * u.TeV
    assert model.integral(*bounds).value == pytest.approx(6.19575457e-14, rel=1e-3)
    assert model(1 * u.TeV).value == pytest.approx(2.97831615e-16, rel=1e-6)
    decay = DarkMatterDecaySpectralModel(5 * u.TeV, "b", jfactor=D, source=pppc4)
    assert decay.integral(*bounds).value == pytest.approx(0.03209234, rel=1e-3)
    assert decay(1 * u.TeV).value == pytest.approx(2.33485775e-05, rel=1e-6)


@pytest.mark.parametrize("channel", [*BASE_CHANNELS, *MIXED_CHANNELS])
def test_parametrisation(pppc4, channel):
    """Photons above 1 % of the mass: within 2 % of the table, 20 % where the documentation says so."""
    limit = 0.2 if channel[:2] in ("nu", "ga") else 0.035 if channel[-1] in "LR" else 0.025
    first = mass_range(channel)[0]
    for mass in (0.1, 0.5, 1, 3, 10, 50):
        if mass > 1.3 * first:
            found, wanted = (
                PrimaryFlux(mass * u.TeV, channel, source).integral(0.01 * mass * u.TeV, mass * u.TeV).value
                for source in ("analytic", pppc4)
            )
            assert found == pytest.approx(wanted, rel=limit)
    # The shape, where photons are most of the energy.
    table = load_table(pppc4)
    j = (table.log_x > -3) & (table.log_x < -0.13)
    wanted = table.channel(channel)[list(table.mass).index(1.0), j]
    found = dnde_log_x(channel, [1.0], table.log_x[j])[0]
    important = wanted * 10 ** table.log_x[j] > 0.05 * np.max(wanted * 10 ** table.log_x[j])
    assert np.median(np.abs(found / wanted - 1)[important]) < limit


def test_energy_is_conserved():
    """Gamma rays take less than the energy of the pair, and for hadrons about a quarter of it."""
    for channel, low, high in (("b", 0.15, 0.4), ("W", 0.1, 0.4), ("tau", 0.1, 0.4), ("e", 0.01, 0.2)):
        flux = PrimaryFlux("1 TeV", channel, "analytic").energy_flux("10 MeV", "1 TeV")
        assert low < (flux / (2 * u.TeV)).to_value("") < high
    line = PrimaryFlux("1 TeV", "gamma", "analytic")
    assert line.integral("0.88 TeV", "1 TeV").to_value("") == pytest.approx(2, rel=0.02)


def test_integrals_are_exact():
    for model in (annihilation(), ScalarSingletSpectralModel("0.7 TeV", 0.1, jfactor=J, source="analytic")):
        low, high = np.array([0.01, 0.3, 0.6, 6]), np.array([0.02, 0.5, 40.0, 7])
        found = model.integral(low * u.TeV, high * u.TeV).value
        for a, b, value in zip(low, high, found, strict=True):
            grid = np.geomspace(a, b, 40_001)
            flux = model(grid * u.TeV).value
            wanted = np.sum(0.5 * (flux[1:] + flux[:-1]) * np.diff(grid))
            # The flux jumps to zero within a step of this grid.
            assert value == pytest.approx(wanted, rel=5e-4, abs=1e-30)


def test_nothing_beyond_the_mass():
    model = annihilation()
    assert model(5.001 * u.TeV).value == 0
    assert model(4.999 * u.TeV).value > 0
    decay = DarkMatterDecaySpectralModel("5 TeV", "b", jfactor=D, source="analytic")
    assert decay(2.501 * u.TeV).value == 0
    assert decay(2.499 * u.TeV).value > 0


def test_decay_is_annihilation_at_half_the_mass():
    decay = DarkMatterDecaySpectralModel("5 TeV", "tau", jfactor=D, source="analytic")
    flux = PrimaryFlux("2.5 TeV", "tau", "analytic")
    rate = 3.41e19 * u.Unit("GeV cm-2") / (4 * np.pi * 5 * u.TeV * 4.3e17 * u.s)
    assert decay("0.5 TeV").value == pytest.approx((rate * flux("0.5 TeV")).to_value("cm-2 s-1 TeV-1"))
    assert decay.primary_flux("0.5 TeV").value == pytest.approx(flux("0.5 TeV").value)
    assert decay.lifetime.to_value("s") == pytest.approx(4.3e17)


@pytest.mark.parametrize(
    "model",
    [
        annihilation(),
        DarkMatterDecaySpectralModel("5 TeV", {"W": 0.5, "tau": 0.3}, jfactor=D, source="analytic"),
        ScalarSingletSpectralModel("0.7 TeV", 0.3, jfactor=J, source="analytic"),
    ],
)
def test_derivatives(model):
    """The derivative by the mass and all others is that of the function."""
    pure = model.pure()
    # Not at a node of the table, where the slope jumps.
    values = [p.engine_value * 1.003 for p in model.parameters]

    def flux(parameters, energy=0.31):
        return pure.evaluate(jax.numpy.asarray(energy), parameters, pure.arrays)

    def total(parameters):
        return pure.integral(jax.numpy.asarray(0.1), jax.numpy.asarray(0.4), parameters, pure.arrays)

    for function in (flux, total):
        exact = jax.jit(jax.grad(function))([jax.numpy.asarray(v) for v in values])
        for i, value in enumerate(values):
            step = 1e-6 * value
            both = [values[:i] + [value + sign * step] + values[i + 1 :] for sign in (1, -1)]
            slope = float(function(both[0]) - function(both[1])) / (2 * step)
            scale = abs(float(function(values)) / value)
            assert float(exact[i]) == pytest.approx(slope, rel=1e-4, abs=1e-6 * scale)


def test_mass_is_continuous():
    """Between the masses of the table, and across them, spectra change smoothly."""
    energies = [0.05, 0.2, 0.5] * u.TeV
    masses = np.geomspace(0.9, 1.2, 200)
    flux = np.array([PrimaryFlux(m * u.TeV, "W", "analytic")(energies).value for m in masses])
    assert np.max(np.abs(np.diff(np.log(flux), axis=0))) < 0.02


def test_ratios():
    parts = {"b": 0.4, "W": 0.35}
    mixed = PrimaryFlux("1 TeV", parts, "analytic")
    wanted = sum(r * PrimaryFlux("1 TeV", name, "analytic")("0.1 TeV") for name, r in parts.items())
    assert mixed("0.1 TeV").value == pytest.approx(wanted.value)
    assert mixed.channel == parts
    for ratios in ({"b": 0.7, "W": 0.6}, {"b": -0.1}, {"b": "much"}, {}, {"b": 0.0}):
        with pytest.raises(ModelError, match=r"sum above 0|number from 0 to 1|ratios by channel"):
            PrimaryFlux("1 TeV", ratios, "analytic")


def test_scale_and_cross_section():
    """Without a scale the cross-section is fitted; with one the scale, as in Gammapy's scripts."""
    assert annihilation().parameters.free_parameters.names == ["sigmav"]
    assert annihilation(scale=2).parameters.free_parameters.names == ["scale"]
    ratio = annihilation(scale=2)("1 TeV") / annihilation()("1 TeV")
    assert ratio.to_value("") == pytest.approx(2)
    assert annihilation(sigmav="6e-26 cm3 s-1")("1 TeV").value == pytest.approx(
        annihilation(scale=2)("1 TeV").value
    )
    assert annihilation(k=4)("1 TeV").value == pytest.approx(0.5 * annihilation()("1 TeV").value)
    shifted = annihilation(z=0.1)
    assert shifted("1 TeV").value == pytest.approx(annihilation()("1.1 TeV").value)
    assert shifted.integral("1 TeV", "2 TeV").value == pytest.approx(
        annihilation().integral("1.1 TeV", "2.2 TeV").value / 1.1
    )
    model = annihilation()
    model.mass.frozen = False
    assert model.copy().parameters.free_parameters.names == ["sigmav", "mass"]


def test_dicts():
    models = [
        annihilation(z=0.2, k=4, scale=3),
        DarkMatterDecaySpectralModel("5 TeV", {"W": 0.5}, jfactor=D, source="analytic"),
        ScalarSingletSpectralModel("0.7 TeV", 0.3, source="analytic"),
        PrimaryFlux("2 TeV", "tau", "analytic"),
    ]
    for model in models:
        again = type(model).from_dict(model.to_dict())
        assert again("0.3 TeV").value == pytest.approx(model("0.3 TeV").value)
        assert [p.frozen for p in again.parameters] == [p.frozen for p in model.parameters]
    saved = Models.from_dict(Models([SkyModel(models[2], name="DM")]).to_dict())
    assert saved["DM"].spectral_model.coupling.value == 0.3
    # As Gammapy writes them.
    gammapy = {
        "type": "DarkMatterAnnihilationSpectralModel",
        "parameters": [{"name": "scale", "value": 2.0, "frozen": False}],
        "mass": {"data": 5.0, "unit": "TeV"},
        "channel": "b",
        "jfactor": {"data": 3.41e19, "unit": "GeV2 cm-5"},
        "z": 0,
        "k": 2,
        "source": "analytic",
    }
    again = DarkMatterAnnihilationSpectralModel.from_dict(gammapy)
    assert again("1 TeV").value == pytest.approx(annihilation(scale=2)("1 TeV").value)


def test_channels():
    assert set(CHANNELS) >= {*BASE_CHANNELS, *MIXED_CHANNELS}
    allowed = PrimaryFlux("1 TeV", "u", "analytic").allowed_channels
    assert set(allowed) == {*BASE_CHANNELS, *MIXED_CHANNELS, "u", "d", "s"}
    # Below its threshold a channel has no photons.
    assert PrimaryFlux("0.1 TeV", "t", "analytic")("10 GeV").value == 0


def test_sources(monkeypatch, tmp_path):
    monkeypatch.setenv("GAMMAPY_DATA", str(tmp_path))
    assert default_source() == "analytic"
    assert PrimaryFlux("1 TeV", "b").source == "analytic"
    for source in ("pppc4", "cosmixs"):
        with pytest.raises(DataError, match=f"table of {source} is missing"):
            load_table(source)
    folder = tmp_path / "dark_matter_spectra" / "cosmixs"
    folder.mkdir(parents=True)
    rows = [f"{m} {x} {m * 0.001 + 1 + x} 2" for m in (10, 100) for x in (-0.1, -0.05, 0.0)]
    path = folder / "AtProduction-Gamma.dat"
    path.write_text("# DM Log10[x] dNdLog10x[b] dNdLog10x[a]\n" + "\n".join(rows) + "\n")
    table = load_table("cosmixs")
    assert table.allowed_channels == ["gamma", "b"]
    assert table.channel("b") == pytest.approx(np.array([[0.91, 0.96, 1.01], [1.0, 1.05, 1.1]]))
    # A damaged file is told.
    other = tmp_path / "dark_matter_spectra" / "PPPC4DMID"
    other.mkdir()
    (other / "AtProduction_gammas.dat").write_text("mDM Log[10,x] b\n5 -1 1\n5 0\n")
    with pytest.raises(FileFormatError, match="AtProduction_gammas"):
        load_table("pppc4")
    (other / "AtProduction_gammas.dat").write_text("mDM Log[10,x] b\n5 -1 1\n6 0 1\n")
    with pytest.raises(FileFormatError, match="one row for each"):
        load_table("pppc4")


def test_wrong_input():
    with pytest.raises(ModelError, match="Did you mean 'tau'"):
        PrimaryFlux("1 TeV", "taus", "analytic")
    with pytest.raises(ModelError, match="unknown source"):
        PrimaryFlux("1 TeV", "b", "pythia")
    with pytest.raises(UnitsError, match="expected jfactor in a unit like"):
        DarkMatterAnnihilationSpectralModel("1 TeV", "b", jfactor=1e20 * u.Unit("GeV cm-2"))
    with pytest.raises(ModelError, match="k = 2"):
        annihilation(k=3)
    with pytest.raises(ModelError, match="redshift"):
        annihilation(z=-1)
    with pytest.raises(ModelError, match="one jfactor"):
        DarkMatterAnnihilationSpectralModel("1 TeV", "b", jfactor=-1 * u.Unit("GeV2 cm-5"), source="analytic")
