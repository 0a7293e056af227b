"""Models of the background: factors of energy and direction, templates of counts, and their files."""

import astropy.units as u
import numpy as np
import pytest

from villard.exceptions import ModelError, UnitsError
from villard.maps import MapAxis, RegionGeom, WcsGeom
from villard.modeling.models import (
    ConstantSpatialModel,
    FoVBackgroundModel,
    LogParabolaNormSpectralModel,
    Models,
    PiecewiseNormSpectralModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)

GAMMAPY = """
components:
-   type: FoVBackgroundModel
    datasets_names:
    - Fermi-LAT
    spectral:
        type: PowerLawNormSpectralModel
        parameters:
        -   name: norm
            value: 1.3004625872247901
            unit: ''
            min: 0.0
            max: .nan
            frozen: false
            error: 0.07512322002655547
        -   name: tilt
            value: 0.0
            unit: ''
            min: .nan
            max: .nan
            frozen: true
            error: 0.0
        -   name: reference
            value: 1.0
            unit: TeV
            min: .nan
            max: .nan
            frozen: true
            error: 0.0
"""


def test_default_background() -> None:
    model = FoVBackgroundModel(dataset_name="cta")
    assert model.name == "cta-bkg"
    assert model.datasets_names == ["cta"]
    assert model.is_background
    assert not SkyModel(PowerLawSpectralModel()).is_background
    assert model.contributes_to("cta")
    assert not model.contributes_to("hess")
    assert [p.frozen for p in model.parameters] == [True, False, True]
    assert model.parameters_unique_names == ["spectral.tilt", "spectral.norm", "spectral.reference"]
    np.testing.assert_array_equal(model.evaluate([0.1, 10] * u.TeV), [1, 1])


def test_factor_of_energy() -> None:
    model = FoVBackgroundModel("cta", PowerLawNormSpectralModel(norm=2, tilt=0.5, reference="4 TeV"))
    np.testing.assert_allclose(model.evaluate([1, 4, 16] * u.TeV), [4, 2, 1])
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    geom = WcsGeom.create(npix=(3, 2), binsz=1, axes=[axis])
    factor = model.evaluate_geom(geom)
    assert factor.shape == geom.data_shape
    np.testing.assert_allclose(factor[:, 0, 0], 2 * (axis.center.value / 4) ** -0.5)
    np.testing.assert_allclose(model.evaluate_geom(RegionGeom(axes=[axis])).ravel(), factor[:, 0, 0])
    model.reset_to_default()
    np.testing.assert_array_equal(model.evaluate([1, 4] * u.TeV), [1, 1])


@pytest.mark.parametrize(
    "spectrum",
    [
        LogParabolaNormSpectralModel(norm=0.9, alpha=0.1, beta=0.2),
        PiecewiseNormSpectralModel([0.1, 1, 10] * u.TeV, [1, 1.2, 0.8]),
    ],
    ids=lambda s: type(s).__name__,
)
def test_any_norm_spectrum(spectrum) -> None:
    model = FoVBackgroundModel("cta", spectrum)
    energy = [0.3, 3] * u.TeV
    np.testing.assert_allclose(model.evaluate(energy), spectrum(energy).value)
    new = Models.from_yaml(Models([model]).to_yaml())["cta-bkg"]
    np.testing.assert_allclose(new.evaluate(energy), model.evaluate(energy))


def test_background_of_models(tmp_path) -> None:
    """A background is one among models: links, covariance, tables, selection and files know it."""
    models = Models([SkyModel(PowerLawSpectralModel(), name="source"), FoVBackgroundModel("a")])
    models.append(FoVBackgroundModel("b"))
    models["b-bkg"].spectral_model.norm = models["a-bkg"].spectral_model.norm
    models.parameters["norm"].value, models.parameters["norm"].error = 1.2, 0.1
    models["source"].parameters["index"].error = 0.3
    models.write(tmp_path / "models.yaml")
    new = Models.read(tmp_path / "models.yaml")
    assert new.names == ["source", "a-bkg", "b-bkg"]
    assert new["b-bkg"].spectral_model.norm is new["a-bkg"].spectral_model.norm
    assert new["b-bkg"].spectral_model.norm.error == pytest.approx(0.1)
    assert new.select(datasets_names="b").names == ["source", "b-bkg"]
    assert new.select(tag="pl-norm").names == ["a-bkg", "b-bkg"]
    table = new.to_parameters_table()
    assert list(table["model"][-3:]) == ["b-bkg"] * 3
    assert new.parameters_unique_names[-2] == "b-bkg.spectral.norm"
    assert new.to_yaml() == models.to_yaml()
    new.freeze("spectral")
    assert new.frozen
    new.unfreeze()
    assert not new["a-bkg"].frozen
    assert "a-bkg" in str(new)


def test_names_follow_the_dataset() -> None:
    models = Models([FoVBackgroundModel("a"), FoVBackgroundModel("a", name="mine")])
    new = models.reassign("a", "b")
    assert new.names == ["b-bkg", "mine"]
    assert [m.datasets_names for m in new] == [["b"], ["b"]]
    assert models.names == ["a-bkg", "mine"]
    assert models["mine"].copy().name == "mine"
    assert Models.from_yaml(models.to_yaml()).names == models.names


def test_file_of_gammapy() -> None:
    model = Models.from_yaml(GAMMAPY)["Fermi-LAT-bkg"]
    norm = model.spectral_model.norm
    assert (norm.value, norm.min, norm.error) == (1.3004625872247901, 0.0, 0.07512322002655547)
    assert Models.from_yaml(Models([model]).to_yaml()).to_yaml() == Models([model]).to_yaml()


def test_factor_of_direction() -> None:
    model = FoVBackgroundModel("a", spatial_model=ConstantSpatialModel(value="2 sr-1"))
    assert model.evaluate(1 * u.TeV, 0 * u.deg, 0 * u.deg) == 2
    with pytest.raises(ModelError, match="'a-bkg': its spatial model needs directions"):
        model.evaluate(1 * u.TeV)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ModelError, "name of one dataset, found None"),
        ({"dataset_name": ["a", "b"]}, ModelError, "name of one dataset"),
        (
            {"dataset_name": "a", "spectral_model": PowerLawSpectralModel()},
            UnitsError,
            "a-bkg.*norm spec",
        ),
        ({"dataset_name": "a", "spectral_model": 3}, ModelError, "must be a SpectralModel, found int"),
        (
            {"dataset_name": "a", "spatial_model": PowerLawSpectralModel()},
            ModelError,
            "be a SpatialModel",
        ),
    ],
)
def test_backgrounds_that_are_none(arguments, error, match) -> None:
    with pytest.raises(error, match=match):
        FoVBackgroundModel(**arguments)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"datasets_names": None}, "name of one dataset"),
        ({"spectrul": {}}, "'spectrul'. Did you mean 'spectral'"),
        ({"spectral": {"type": "PowerLawSpectralModel"}}, "norm spectrum"),
        ({"type": "FovBackgroundModel"}, "Did you mean 'FoVBackgroundModel'"),
    ],
)
def test_damaged_files(change, match) -> None:
    data = Models([FoVBackgroundModel("a")]).to_dict()
    data["components"][0].update(change)
    with pytest.raises((ModelError, UnitsError), match=match):
        Models.from_dict(data)
