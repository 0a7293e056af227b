"""Names of gtlike's parameters, and sources as fermipy's dictionaries."""

import math

import astropy.units as u
import pytest

from villard.exceptions import ModelError, ParameterError
from villard.modeling.models import PowerLawNormSpectralModel, SkyModel, TemplateSpectralModel
from villard.modeling.models.gtlike import (
    find_parameter,
    gtlike_name,
    gtlike_value,
    index_parameters,
    model_from_dict,
    norm_parameter,
    set_gtlike_value,
    shape_parameters,
    spatial_type,
    spectrum_type,
)

#: Our tag: gtlike's type, norm, shape and index, as fermipy frees them.
GROUPS = {
    "pl": ("PowerLaw", "Prefactor", ["Index"], ["Index"]),
    "pl-2": ("PowerLaw2", "Integral", ["Index"], ["Index"]),
    "lp": ("LogParabola", "norm", ["alpha", "beta"], ["alpha", "beta"]),
    "bpl": ("BrokenPowerLaw", "Prefactor", ["Index1", "Index2"], ["Index1", "Index2"]),
    "secpl": ("PLSuperExpCutoff", "Prefactor", ["Index1", "Cutoff"], ["Index1", "Index2"]),
    "secpl-3fgl": ("PLSuperExpCutoff", "Prefactor", ["Index1", "Cutoff"], ["Index1", "Index2"]),
    "ecpl": ("PLSuperExpCutoff", "Prefactor", ["Index1", "Cutoff"], ["Index1", "Index2"]),
    "secpl-2": ("PLSuperExpCutoff2", "Prefactor", ["Index1", "Expfactor"], ["Index1", "Index2"]),
    "secpl-4fgl": ("PLSuperExpCutoff2", "Prefactor", ["Index1", "Expfactor"], ["Index1", "Index2"]),
    "secpl-3": ("PLSuperExpCutoff3", "Prefactor", ["IndexS", "Expfactor2"], ["IndexS", "Index2"]),
    "secpl-4fgl-dr3": ("PLSuperExpCutoff4", "Prefactor", ["IndexS", "ExpfactorS"], ["IndexS", "Index2"]),
}


@pytest.mark.parametrize("tag", GROUPS)
def test_groups_of_parameters(tag):
    model = SkyModel.create(tag, "point", name="source")
    kind, norm, shape, index = GROUPS[tag]
    assert spectrum_type(model) == kind
    assert gtlike_name(model, norm_parameter(model)) == norm
    assert [gtlike_name(model, p) for p in shape_parameters(model)] == shape
    assert [gtlike_name(model, p) for p in index_parameters(model)] == index
    assert all(
        find_parameter(model, name) is p for name, p in zip(shape, shape_parameters(model), strict=True)
    )


def test_prefactors_of_catalogues_are_not_the_flux_at_the_pivot():
    model = SkyModel.create("secpl-3fgl").spectral_model
    model.reference.quantity, model.ecut.quantity, model.index_2.value = "1 GeV", "2 GeV", 0.7
    expected = model.amplitude.quantity * math.exp(0.5**0.7)
    assert gtlike_value(model, "Prefactor") == pytest.approx(expected.to_value("cm-2 s-1 MeV-1"), rel=1e-14)
    assert gtlike_value(model, "Index1") == -model.index_1.value
    set_gtlike_value(model, "Prefactor", 2e-12)
    assert gtlike_value(model, "Prefactor") == pytest.approx(2e-12, rel=1e-14)


def test_diffuse_sources():
    table = TemplateSpectralModel([1, 10] * u.GeV, [1, 0.1] * u.Unit("cm-2 s-1 GeV-1"))
    model = SkyModel(table * PowerLawNormSpectralModel(), name="iso")
    assert spectrum_type(model) == "FileFunction"
    assert find_parameter(model, "Normalization") is model.spectral_model.model2.norm
    assert shape_parameters(model) == []
    assert spatial_type(SkyModel.create("pl", "disk")) == "RadialDisk"


def test_unknown_parameter_offers_the_nearest():
    model = SkyModel.create("pl", "point", name="A")
    with pytest.raises(ParameterError, match=r"A: no parameter 'Prefactr'. Did you mean 'Prefactor'"):
        find_parameter(model, "Prefactr")
    assert find_parameter(model, "prefactor") is find_parameter(model, "amplitude")
    assert find_parameter(model, "RA") is model.spatial_model.lon_0


def test_dictionary_of_fermipy():
    model = model_from_dict(
        {
            "name": "A",
            "glon": 1.0,
            "glat": -2.0,
            "SpatialModel": "RadialGaussian",
            "SpatialWidth": 0.3,
            "SpectrumType": "LogParabola",
            "norm": {"value": 2, "scale": 1e-11, "min": 0.1, "max": 10, "free": "1"},
            "alpha": 1.7,
            "beta": {"value": 0.2, "free": False},
        }
    )
    assert model.position.galactic.l.deg == pytest.approx(1)
    assert model.spatial_model.sigma.value == pytest.approx(0.3 / 1.5095921854516636)
    spectrum = model.spectral_model
    assert (spectrum.amplitude.value, spectrum.amplitude.min, spectrum.amplitude.max) == pytest.approx(
        (2e-11, 1e-12, 1e-10)
    )
    assert [p.frozen for p in spectrum.parameters] == [False, True, False, True]


@pytest.mark.parametrize("index", [2.3, -2.3, {"value": 2.3, "scale": -1}, {"value": -2.3, "scale": 1}])
def test_signs_of_indices(index):
    model = model_from_dict({"name": "A", "ra": 1, "dec": 2, "SpectrumType": "PowerLaw", "Index": index})
    assert model.spectral_model.index.value == 2.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SpectrumType": "PowrLaw"}, "source 'A': unknown spectrum 'PowrLaw'. Did you mean 'PowerLaw'"),
        ({"Indx": 2}, "source 'A': unknown key 'Indx'. Did you mean 'Index'"),
        ({"SpatialModel": "RadialDisc"}, "source 'A': unknown spatial model 'RadialDisc'"),
        ({"ra": None}, "source 'A': parameter 'ra': expected a number"),
        ({"Prefactor": {"scale": 1}}, "source 'A': parameter 'Prefactor': 'value' is missing"),
    ],
)
def test_bad_dictionaries(change, message):
    with pytest.raises(ModelError, match=message):
        model_from_dict({"name": "A", "ra": 1, "dec": 2, **change})


def test_dark_matter_in_dictionaries():
    place = {"name": "dwarf", "glon": 10.0, "glat": 40.0, "SpectrumType": "DMFitFunction"}
    model = model_from_dict({**place, "sigmav": 3e-26, "norm": 1e19, "mass": 100.0, "channel0": 4})
    assert [p.name for p in model.parameters if not p.frozen] == ["sigmav", "mass"]
    assert model.spectral_model.jfactor.value == 1e19
