"""Models of the background: factors of energy and direction, templates of counts, and their files."""

import astropy.units as u
import numpy as np
import pytest

from villard.exceptions import ModelError, UnitsError
from villard.maps import MapAxis, RegionGeom, WcsGeom
from villard.modeling.models import (
    ConstantSpatialModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    LogParabolaNormSpectralModel,
    Models,
    PiecewiseNormSpatialModel,
    PiecewiseNormSpectralModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
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


# Free norms on the sky


def corners() -> dict:
    return {"lon": [-4.5, 4.5, -4.5, 4.5, 0] * u.deg, "lat": [-3.5, -3.5, 3.5, 3.5, 0] * u.deg}


def test_free_norms_are_a_sum() -> None:
    surface = PiecewiseNormSpatialModel(corners(), norms=[1, 2, 3, 4, 5], frame="galactic")
    model = FoVBackgroundModel("a", PowerLawNormSpectralModel(norm=2, tilt=0.5), surface)
    parts = model.linear_parts()
    assert len(parts) == 5
    lon, lat, energy = [0.3, -2] * u.deg, [1, -3] * u.deg, [0.5, 4.0]
    total = 0
    for node, part in enumerate(parts):
        assert part.is_background
        assert part.contributes_to("a")
        assert part.name == "a-bkg"
        assert part.spectral_model.parameters.names == ["tilt", "norm", "reference", f"norm_{node}"]
        assert part.spectral_model.parameters[-1] is surface.parameters[node]
        pure = part.spectral_model.pure()
        values = np.array([p.engine_value for p in part.spectral_model.parameters])
        factor = pure.evaluate(np.array(energy), values, pure.arrays)
        assert pure.norm_index == 3
        total = total + factor * part.spatial_model(lon, lat).value
    np.testing.assert_allclose(total, model.evaluate(energy * u.TeV, lon, lat))
    surface.freeze()
    assert model.linear_parts() == [model]
    source = SkyModel(PowerLawSpectralModel())
    assert source.linear_parts() == [source]


def test_norms_that_cannot_be_fitted() -> None:
    surface = PiecewiseNormSpatialModel(corners(), interp="log")
    with pytest.raises(ModelError, match=r"'a-bkg': .*norm_0.* can't be fitted.*interp='lin'"):
        FoVBackgroundModel("a", spatial_model=surface).linear_parts()
    with pytest.raises(ModelError, match=r"\['lon_0', 'lat_0', 'sigma'\] of its spatial model"):
        FoVBackgroundModel("a", spatial_model=GaussianSpatialModel()).linear_parts()


def test_fit_of_norms(gammapy_data) -> None:
    """The fit that Gammapy 2.1 does of the same data."""
    from villard.datasets import MapDataset
    from villard.modeling import Fit

    dataset = MapDataset.read("$GAMMAPY_DATA/cta-1dc-gc/cta-1dc-gc-small.fits.gz", name="cta")
    dataset.mask_fit = dataset.counts.geom.energy_mask(energy_min=0.3 * u.TeV)
    surface = PiecewiseNormSpatialModel(corners(), frame="galactic")
    background = FoVBackgroundModel("cta", spatial_model=surface)
    background.spectral_model.norm.frozen = True
    dataset.models = [background]
    result = Fit().run([dataset])
    assert result.success
    assert result.total_stat == pytest.approx(95947.16768631297, abs=1e-3)
    assert dataset.stat_sum() == pytest.approx(result.total_stat, rel=1e-9)
    values = [
        0.48314126486269005,
        0.5748115396642165,
        0.5015839989960594,
        0.5659069031552487,
        1.731316291825661,
    ]
    errors = [
        0.06496895843793743,
        0.06749264266679558,
        0.05368615796331717,
        0.054871639281949595,
        0.016868160322231276,
    ]
    np.testing.assert_allclose(surface.norms, values, atol=0.01 * min(errors))
    np.testing.assert_allclose([p.error for p in surface.parameters], errors, rtol=0.01)

    # As a template of counts it is the same fit.
    template = TemplateNPredModel(dataset.background, name="template", spatial_model=surface.copy())
    template.spectral_model.norm.frozen = True
    for parameter in template.spatial_model.parameters:
        parameter.value = 1.0
    dataset.background.data *= 1e-12
    dataset.models = [template]
    result = Fit().run([dataset])
    assert result.total_stat == pytest.approx(95947.16768631297, abs=1e-3)
    np.testing.assert_allclose(template.spatial_model.norms, values, atol=0.01 * min(errors))
