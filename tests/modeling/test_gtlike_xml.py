"""XML files of gtlike: values, signs, scales and limits both ways."""

import math
from pathlib import Path

import astropy.units as u
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from villard.exceptions import FileFormatError, ModelError, OverwriteError
from villard.modeling.models import EBLAbsorptionNormSpectralModel, Models, SkyModel
from villard.modeling.models.gtlike import (
    find_parameter,
    gtlike_parameters,
    model_from_dict,
    norm_parameter,
    read_gtlike_xml,
    shape_parameters,
    spectrum_type,
    write_gtlike_xml,
)

ENERGY = np.geomspace(0.1, 300, 7) * u.GeV
TAGS = (
    *("pl", "pl-2", "lp", "bpl", "sbpl", "ebl-cutoff", "ebl-cutoff-bpl", "band", "gauss", "const"),
    *("secpl", "secpl-2", "secpl-3", "secpl-4fgl-dr3", "secpl-3fgl", "secpl-4fgl", "ecpl", "ecpl-3fgl"),
)


def write(path, spectrum, spatial=None):
    spatial = spatial or (
        '<spatialModel type="SkyDirFunction"><parameter name="RA" value="83.6" scale="1" free="0" min="0" '
        'max="360"/><parameter name="DEC" value="22" scale="1" free="0" min="-90" max="90"/></spatialModel>'
    )
    path.write_text(
        f'<source_library><source name="A" type="PointSource">{spectrum}{spatial}</source></source_library>'
    )
    return path


def parameter(name, value, scale=1.0, low=-1e9, high=1e9, free=1):
    return (
        f'<parameter name="{name}" value="{value!r}" scale="{scale!r}" min="{low!r}" max="{high!r}" '
        f'free="{free}"/>'
    )


@st.composite
def sky_models(draw):
    """Sources of any spectrum of gtlike with any values, limits and errors."""
    tag = draw(st.sampled_from(TAGS))
    spatial = draw(st.sampled_from(["point", "gauss", "disk", "const"]))
    model = SkyModel.create(tag, spatial, name=draw(st.text("aZ09 &<>\"'+-.", min_size=1, max_size=9)))
    number = st.floats(0.1, 9.9)
    for p in model.spectral_model.parameters:
        unit = {"cm-2 s-1 TeV-1": "cm-2 s-1 GeV-1", "TeV": "GeV"}.get(p.unit.to_string("fits"))
        value = draw(number) * (1e-9 if p.is_norm else 1)
        if p.name in ("index", "index_1", "index1", "index2"):
            value = draw(st.floats(-3, 5))
        if p.name == "index_2":
            value = draw(st.floats(0.1, 1.2))
        if p.name == "expfactor" and "4fgl" in tag:
            value *= 1e-6
        if tag in ("pl-2",) and p.name == "emax":
            value += 10
        p.value = value
        if unit is not None:
            p.unit = unit
        p.frozen = draw(st.booleans())
        p.error = draw(st.sampled_from([0.0, 0.1])) * abs(value)
        if draw(st.booleans()):
            p.min, p.max = value - 2 * abs(value), value + 3 * abs(value)
    if spatial != "const":
        model.spatial_model.lon_0.value = draw(st.floats(0, 359.9))
        model.spatial_model.lat_0.value = draw(st.floats(-89, 89))
    return model


@given(model=sky_models())
def test_round_trip(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("xml") / "model.xml"
    write_gtlike_xml([model], path)
    again = read_gtlike_xml(path)[model.name]
    assert spectrum_type(again) == spectrum_type(model)
    with np.errstate(over="ignore", under="ignore"):
        expected, found = model.spectral_model(ENERGY), again.spectral_model(ENERGY)
    np.testing.assert_allclose(
        found.to_value("cm-2 s-1 MeV-1"), expected.to_value("cm-2 s-1 MeV-1"), rtol=1e-10
    )
    for p, q in zip(gtlike_parameters(model), gtlike_parameters(again), strict=True):
        assert q.value == pytest.approx(p.value, rel=1e-13)
        assert p.free == q.free
        assert q.error == pytest.approx(p.error, rel=1e-12)
        for limit in ("min", "max"):
            if not math.isnan(getattr(p, limit)):
                assert getattr(q, limit) == pytest.approx(getattr(p, limit), rel=1e-12)
    if model.position is not None:
        assert again.position.separation(model.position).deg < 1e-9
    # The second time nothing changes at all.
    second = path.with_name("second.xml")
    write_gtlike_xml([again], second)
    third = path.with_name("third.xml")
    write_gtlike_xml(read_gtlike_xml(second), third)
    assert second.read_text() == third.read_text()


def test_signs_and_scales(tmp_path):
    falling = parameter("Index", 2.1, -1.0, 0.0, 5.0) + parameter("Scale", 1.5, 1e3, free=0)
    norm = parameter("Prefactor", 3.0, 1e-13, 0.01, 100.0)
    model = read_gtlike_xml(
        write(tmp_path / "a.xml", f'<spectrum type="PowerLaw">{norm}{falling}</spectrum>')
    )[0]
    spectrum = model.spectral_model
    assert (spectrum.index.value, spectrum.index.min, spectrum.index.max) == (2.1, 0, 5)
    assert spectrum.amplitude.quantity.to_value("cm-2 s-1 MeV-1") == pytest.approx(3e-13)
    assert spectrum.amplitude.max == pytest.approx(1e-11)
    assert spectrum.reference.quantity == 1.5 * u.GeV
    rising = parameter("Index", -2.1, 1.0, -5.0, 0.0) + parameter("Scale", 1500.0, free=0)
    path = write(tmp_path / "b.xml", f'<spectrum type="PowerLaw">{norm}{rising}</spectrum>')
    assert read_gtlike_xml(path)[0].spectral_model.index.max == 5


N, E0 = 2e-12, 1500.0


def plec4(x, g, d, b):
    """PLSuperExpCutoff4, near b = 0 by its series."""
    y = np.log(x)
    curved = np.where(np.abs(b * y) < 1e-2, y**2 * d / 2 * (1 + b * y / 3 * (1 + b * y / 4)), 0)
    exact = np.abs(b * y) >= 1e-2
    curved[exact] = -(d / b * y + d / b**2 * (1 - np.exp(b * y)))[exact]
    return N * np.exp(g * y - curved)


#: Parameters of gtlike, and its formula of the energy in MeV.
FORMULAS = {
    "PowerLaw": ({"Prefactor": N, "Index": -2.2, "Scale": E0}, lambda e: N * (e / E0) ** -2.2),
    "PowerLaw2": (
        {"Integral": 3e-9, "Index": -2.2, "LowerLimit": 100.0, "UpperLimit": 1e5},
        lambda e: 3e-9 * -1.2 / (1e5**-1.2 - 100**-1.2) * e**-2.2,
    ),
    "LogParabola": (
        {"norm": N, "alpha": 1.9, "beta": 0.15, "Eb": E0},
        lambda e: N * (e / E0) ** -(1.9 + 0.15 * np.log(e / E0)),
    ),
    "BrokenPowerLaw": (
        {"Prefactor": N, "Index1": -1.5, "Index2": -3.0, "BreakValue": 3e3},
        lambda e: N * (e / 3e3) ** np.where(e < 3e3, -1.5, -3.0),
    ),
    "PLSuperExpCutoff": (
        {"Prefactor": N, "Index1": -1.4, "Scale": E0, "Cutoff": 3e3, "Index2": 0.7},
        lambda e: N * (e / E0) ** -1.4 * np.exp(-((e / 3e3) ** 0.7)),
    ),
    "PLSuperExpCutoff2": (
        {"Prefactor": N, "Index1": -1.4, "Scale": E0, "Expfactor": 4e-3, "Index2": 0.67},
        lambda e: N * (e / E0) ** -1.4 * np.exp(-4e-3 * e**0.67),
    ),
    "PLSuperExpCutoff3": (
        {"Prefactor": N, "IndexS": -1.9, "Scale": E0, "Expfactor2": 0.8, "Index2": 0.67},
        lambda e: N * np.exp((-1.9 + 0.8 * 0.67) * np.log(e / E0) + 0.8 * (1 - (e / E0) ** 0.67)),
    ),
    "PLSuperExpCutoff4": (
        {"Prefactor": N, "IndexS": -1.9, "Scale": E0, "ExpfactorS": 0.5, "Index2": 0.67},
        lambda e: plec4(e / E0, -1.9, 0.5, 0.67),
    ),
    "PLSuperExpCutoff4, nearly a log-parabola": (
        {"Prefactor": N, "IndexS": -1.9, "Scale": E0, "ExpfactorS": 0.5, "Index2": 1e-3},
        lambda e: plec4(e / E0, -1.9, 0.5, 1e-3),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_those_of_gtlike(tmp_path, name):
    values, formula = FORMULAS[name]
    text = "".join(parameter(*item) for item in values.items())
    path = write(tmp_path / "a.xml", f'<spectrum type="{name.split(",")[0]}">{text}</spectrum>')
    model = read_gtlike_xml(path)[0]
    found = model.spectral_model(ENERGY).to_value("cm-2 s-1 MeV-1")
    np.testing.assert_allclose(found, formula(ENERGY.to_value("MeV")), rtol=1e-7)
    assert {p.name: p.value for p in gtlike_parameters(model)} == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize("beta", [0.2, -0.2])
@pytest.mark.parametrize("indices", [(-1.5, -3.0), (-3.0, -1.5)])
def test_smooth_break_is_that_of_gtlike(tmp_path, beta, indices):
    values = {"Index1": indices[0], "Index2": indices[1], "Scale": 1e3, "BreakValue": 5e3, "Beta": beta}
    text = "".join(parameter(*item) for item in {"Prefactor": 1e-12, **values}.items())
    path = write(tmp_path / "a.xml", f'<spectrum type="SmoothBrokenPowerLaw">{text}</spectrum>')
    energy = ENERGY.to_value("MeV")
    bracket = 1 + (energy / 5e3) ** ((indices[0] - indices[1]) / beta)
    expected = 1e-12 * (energy / 1e3) ** indices[0] * bracket**-beta
    found = read_gtlike_xml(path)[0].spectral_model(ENERGY).to_value("cm-2 s-1 MeV-1")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_absorbed_broken_power_law_is_that_of_gtlike(tmp_path):
    values = {"Index1": -1.5, "Index2": -3.0, "BreakValue": 5e3, "Eabs": 2e4, "P1": 3e4}
    text = "".join(parameter(*item) for item in {"Prefactor": 1e-12, **values}.items())
    model = read_gtlike_xml(write(tmp_path / "a.xml", f'<spectrum type="BPLExpCutoff">{text}</spectrum>'))[0]
    energy = ENERGY.to_value("MeV")
    expected = 1e-12 * np.where(energy < 5e3, (energy / 5e3) ** -1.5, (energy / 5e3) ** -3.0)
    expected *= np.where(energy < 2e4, 1.0, np.exp(-(energy - 2e4) / 3e4))
    np.testing.assert_allclose(model.spectral_model(ENERGY).to_value("cm-2 s-1 MeV-1"), expected, rtol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(-0.8, -2.4), (-2.5, -1.5)])
def test_band_function_is_that_of_gtlike(tmp_path, alpha, beta):
    """Joined smoothly; a power law if beta isn't below alpha."""
    values = {"norm": 1e-3, "alpha": alpha, "beta": beta, "Ep": 2e3, "Scale": 0.1}
    text = "".join(parameter(*item) for item in values.items())
    model = read_gtlike_xml(write(tmp_path / "a.xml", f'<spectrum type="BandFunction">{text}</spectrum>'))[0]
    energy = ENERGY.to_value("MeV")
    x, edge = energy / 0.1, (alpha - beta) * 2e4
    if alpha > beta:
        low = x**alpha * np.exp(-energy / 2e3)
        expected = np.where(x < edge, low, x**beta * edge ** (alpha - beta) * np.exp(beta - alpha))
    else:
        expected = x**beta
    found = model.spectral_model(ENERGY).to_value("cm-2 s-1 MeV-1")
    np.testing.assert_allclose(found, 1e-3 * expected, rtol=1e-12)
    if alpha > beta:
        # The slope has no step either, and E2 dN/dE peaks at (2 + alpha) Ep.
        near = (alpha - beta) * 2 * np.array([1 - 1e-6, 1 + 1e-6]) * u.GeV
        np.testing.assert_allclose(model.spectral_model.spectral_index(near), -beta, atol=1e-4)
        assert model.spectral_model.spectral_index((2 + alpha) * 2 * u.GeV) == pytest.approx(2, abs=1e-4)


def absorbed(base, number, redshift=0.3):
    tau = parameter("tau_norm", 1.2, low=0.0, high=10.0)
    rest = parameter("redshift", redshift, free=0) + parameter("ebl_model", float(number), free=0)
    return f'<spectrum type="EblAtten::{base}">{tau}{rest}'


@pytest.mark.parametrize(("number", "name"), [(4, "franceschini"), (5, "finke"), (10, "dominguez")])
def test_absorption_by_background_light(tmp_path, gammapy_data, number, name):
    values = {"Prefactor": 1e-12, "Index": -1.8, "Scale": 1e3}
    text = absorbed("PowerLaw", number) + "".join(parameter(*item) for item in values.items())
    model = read_gtlike_xml(write(tmp_path / "a.xml", f"{text}</spectrum>"))[0]
    transmission = EBLAbsorptionNormSpectralModel.read_builtin(name, redshift=0.3, alpha_norm=1.2)(ENERGY)
    expected = 1e-12 * ENERGY.to_value("GeV") ** -1.8 * transmission.to_value("")
    np.testing.assert_allclose(model.spectral_model(ENERGY).to_value("cm-2 s-1 MeV-1"), expected, rtol=1e-12)
    assert transmission[-1] < 0.8
    assert [p.name for p in shape_parameters(model)] == ["index"]
    assert norm_parameter(model).name == "amplitude"
    assert find_parameter(model, "tau_norm").max == 10
    assert not find_parameter(model, "tau_norm").frozen
    assert find_parameter(model, "redshift").frozen
    assert spectrum_type(model) == "EblAtten::PowerLaw"
    write_gtlike_xml([model], tmp_path / "b.xml")
    again = read_gtlike_xml(tmp_path / "b.xml")[0]
    assert [(p.name, p.value) for p in gtlike_parameters(again)] == [
        (p.name, pytest.approx(p.value, rel=1e-13)) for p in gtlike_parameters(model)
    ]
    np.testing.assert_allclose(
        again.spectral_model(ENERGY).value, model.spectral_model(ENERGY).value, rtol=1e-12
    )


def test_new_spectra_in_dictionaries(gammapy_data):
    place = {"name": "A", "ra": 1, "dec": 2}
    data = place | {"SpectrumType": "EblAtten::PowerLaw", "Prefactor": 1e-12, "Index": -1.8, "Scale": 1e3}
    model = model_from_dict({**data, "tau_norm": 1.2, "redshift": 0.3, "ebl_model": 4})
    bare = model_from_dict(place | {**data, "SpectrumType": "PowerLaw"})
    ebl = EBLAbsorptionNormSpectralModel.read_builtin("franceschini", redshift=0.3, alpha_norm=1.2)
    expected = (bare.spectral_model(ENERGY) * ebl(ENERGY)).value
    np.testing.assert_allclose(model.spectral_model(ENERGY).value, expected, rtol=1e-12)
    assert find_parameter(model, "redshift").frozen
    with pytest.raises(ModelError, match="'alpha' is missing"):
        model_from_dict(place | {"SpectrumType": "BandFunction", "norm": 1e-3})


def test_diffuse_sources(tmp_path):
    (tmp_path / "iso.txt").write_text("100 1e-6\n1000 1e-8\n10000 1e-10\n")
    norm = parameter("Normalization", 1.2, free=1)
    spectrum = f'<spectrum type="FileFunction" file="iso.txt" apply_edisp="false">{norm}</spectrum>'
    spatial = f'<spatialModel type="ConstantValue">{parameter("Value", 1.0, free=0)}</spatialModel>'
    model = read_gtlike_xml(write(tmp_path / "a.xml", spectrum, spatial))[0]
    assert model.spectral_model(1 * u.GeV).to_value("cm-2 s-1 MeV-1") == pytest.approx(1.2e-8)
    assert model.apply_irf == {"exposure": True, "psf": False, "edisp": False}
    write_gtlike_xml(Models([model]), tmp_path / "b.xml")
    assert 'apply_edisp="false"' in (tmp_path / "b.xml").read_text()
    assert read_gtlike_xml(tmp_path / "b.xml")[0].spectral_model(1 * u.GeV) == model.spectral_model(1 * u.GeV)


@pytest.mark.parametrize(
    ("spectrum", "message"),
    [
        ('<spectrum type="BandFunktion"/>', "source 'A': unknown spectrum 'BandFunktion'"),
        ('<spectrum type="BandFunction"/>', "BandFunction: the parameter 'norm' is missing"),
        ('<spectrum type="EblAtten::PowerLaw"/>', "EblAtten: the parameter 'tau_norm' is missing"),
        (f"{absorbed('PowerLaw', 3)}</spectrum>", r"ebl_model 3: there are tables of 4 \(Franceschini"),
        ('<spectrum type="PowerLaw"/>', "source 'A': PowerLaw: the parameter 'Prefactor' is missing"),
        (
            f'<spectrum type="PowerLaw">{parameter("Indx", 1)}</spectrum>',
            "no parameter 'Indx'. Did you mean 'Index'",
        ),
        (f'<spectrum type="LogParabola">{parameter("norm", "x")}</spectrum>', "value must be a number"),
        ("", "expected one 'spectrum', found 0"),
        ('<spectrum type="FileFunction" file="none.txt"/>', "file not found: none.txt"),
        ('<spectrum type="FileFunction" file="$(NOT_SET_AT_ALL)/a"/>', "variable NOT_SET_AT_ALL isn't set"),
    ],
)
def test_bad_files(tmp_path, spectrum, message):
    with pytest.raises((ModelError, FileFormatError), match=message) as error:
        read_gtlike_xml(write(tmp_path / "a.xml", spectrum))
    assert "a.xml" in str(error.value)


def test_limits_that_exclude_the_value(tmp_path):
    text = (
        parameter("Prefactor", 1.0, 1e-12, 2.0, 3.0) + parameter("Index", 2.0, -1.0) + parameter("Scale", 1e3)
    )
    with pytest.raises(ValueError, match="'Prefactor': its value 1e-12 is outside its limits"):
        read_gtlike_xml(write(tmp_path / "a.xml", f'<spectrum type="PowerLaw">{text}</spectrum>'))


def test_missing_files_may_be_left_out(tmp_path, caplog):
    path = write(tmp_path / "a.xml", '<spectrum type="FileFunction" file="none.txt"/>')
    assert len(read_gtlike_xml(path, missing_files="skip")) == 0
    assert "source 'A': file not found: none.txt" in caplog.text


def test_what_gtlike_does_not_have(tmp_path):
    for model in (SkyModel.create("pl", name="B"), SkyModel.create("lp2", "point", name="B")):
        with pytest.raises((ModelError, ValueError), match=r"source 'B'"):
            write_gtlike_xml([model], tmp_path / "a.xml")
    assert not (tmp_path / "a.xml").exists()
    (tmp_path / "a.xml").touch()
    with pytest.raises(OverwriteError):
        write_gtlike_xml([], tmp_path / "a.xml")


def test_extended_sources_of_the_fermi_archive(gammapy_data):
    """All 80 files are read; sizes and norms are those of the table beside them."""
    folder = Path(gammapy_data) / "catalogs/fermi/Extended_14years"
    files = sorted((folder / "XML").glob("*.xml"))
    models = [read_gtlike_xml(file, folder=folder)[0] for file in files]
    assert len(models) == len(files) > 70
    kinds = {type(model.spatial_model).__name__ for model in models}
    assert kinds == {"DiskSpatialModel", "GaussianSpatialModel", "TemplateSpatialModel"}


def test_dark_matter(tmp_path):
    values = {"norm": 1.5e19, "sigmav": 3e-26, "mass": 120.0, "bratio": 0.7, "channel0": 4, "channel1": 3}
    text = "".join(parameter(k, float(v), 1.0, -1e30, 1e30, int(k == "sigmav")) for k, v in values.items())
    spectrum = f'<spectrum type="DMFitFunction" file="$(FERMI_DIR)/gammamc_dif.dat">{text}</spectrum>'
    model = read_gtlike_xml(write(tmp_path / "a.xml", spectrum))[0]
    assert spectrum_type(model) == "DMFitFunction"
    assert model.spectral_model.channel == {"b": 0.7, "tau": pytest.approx(0.3)}
    assert [p.name for p in model.spectral_model.parameters if not p.frozen] == ["sigmav"]
    write_gtlike_xml([model], tmp_path / "b.xml")
    again = read_gtlike_xml(tmp_path / "b.xml")[0]
    assert {p.name: p.value for p in gtlike_parameters(again)} == pytest.approx(values)
    np.testing.assert_allclose(again.spectral_model(ENERGY), model.spectral_model(ENERGY), rtol=1e-12)
    bad = spectrum.replace('name="channel0" value="4.0"', 'name="channel0" value="99.0"')
    with pytest.raises(ModelError, match="channel0 must be one of 1"):
        read_gtlike_xml(write(tmp_path / "c.xml", bad))


def test_galactic_cube(gammapy_data, tmp_path):
    """A cube of fluxes is scaled by a spectrum without unit."""
    name = f"{gammapy_data}/fermi-gc/gll_iem_v07_gc.fits.gz"
    text = parameter("Prefactor", 1.1, 1.0, 0.1, 10.0) + parameter("Index", 0.0, -1.0, -1.0, 1.0, 0)
    spectrum = f'<spectrum type="PowerLaw">{text}{parameter("Scale", 1e3, free=0)}</spectrum>'
    norm = parameter("Normalization", 1.0, 1.0, 0.0, 1e3, 0)
    spatial = f'<spatialModel type="MapCubeFunction" file="{name}">{norm}</spatialModel>'
    model = read_gtlike_xml(write(tmp_path / "a.xml", spectrum, spatial))[0]
    assert model.spectral_model.norm.value == 1.1
    assert (model.spectral_model.tilt.value, model.spectral_model.tilt.frozen) == (0, True)
    assert not model.spatial_model.normalize
    write_gtlike_xml([model], tmp_path / "b.xml")
    again = read_gtlike_xml(tmp_path / "b.xml")[0]
    place = (*model.spatial_model.position_lonlat * u.deg, 10 * u.GeV)
    assert again.evaluate(*place) == model.evaluate(*place)
    bad = spatial.replace('value="1.0"', 'value="2.0"')
    with pytest.raises(ModelError, match="Normalization = 2: expected 1, fixed"):
        read_gtlike_xml(write(tmp_path / "c.xml", spectrum, bad))
