"""Templates of counts: their values, parts, sums and files."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.exceptions import DataError, ModelError, OverwriteError, UnitsError
from villard.maps import Map, MapAxis, WcsGeom
from villard.modeling.models import (
    ConstantSpatialModel,
    Models,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    TemplateNPredModel,
)

AXIS = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)


def counts(**kwargs):
    result = Map.create(npix=(4, 3), binsz=0.5, frame="galactic", axes=[AXIS], **kwargs)
    result.data = np.arange(24.0).reshape(2, 3, 4)
    return result


def test_values():
    model = TemplateNPredModel(counts(), PowerLawNormSpectralModel(norm=2, tilt=0.5, reference="1 TeV"))
    assert model.is_npred_template
    assert not model.is_background
    assert model.datasets_names is None
    factor = 2 * AXIS.center.value**-0.5
    np.testing.assert_allclose(model.evaluate().data, counts().data * factor[:, None, None])
    model.spatial_model = ConstantSpatialModel(value="3 sr-1")
    np.testing.assert_allclose(model.evaluate().data, 3 * counts().data * factor[:, None, None])
    assert model.position.separation(SkyCoord(0, 0, unit="deg", frame="galactic")).deg < 1e-9
    assert model.evaluation_radius == 1 * u.deg


def test_the_map_is_copied():
    data = counts()
    model = TemplateNPredModel(data)
    data.data += 1
    assert model.map.data.sum() == 276
    assert TemplateNPredModel(data, copy_data=False).map is data


def test_parts_and_sums():
    model = TemplateNPredModel(counts(), name="a", filename="a.fits")
    part = model.cutout(SkyCoord(0.5, 0, unit="deg", frame="galactic"), 1 * u.deg, name="part")
    assert part.name == "part"
    assert part.filename is None
    assert part.map.data.shape == (2, 2, 2)
    low = model.slice_by_energy(1 * u.TeV, 10 * u.TeV)
    np.testing.assert_array_equal(low.map.data, counts().data[:1])
    part.spectral_model.norm.value = 3
    model.spectral_model.norm.value = 2
    model.stack(part)
    expected = 2 * 276 + 3 * part.map.data.sum()
    np.testing.assert_allclose(model.evaluate().data.sum(), expected)
    assert model.spectral_model.norm.value == 1


def test_bins_of_a_dataset():
    """A template may be a part of the dataset's map, or reach beyond it."""
    model = TemplateNPredModel(counts(), PowerLawNormSpectralModel(norm=7), name="a")
    geom = model.map.geom
    np.testing.assert_array_equal(model.evaluate_geom(geom), counts().data)
    larger = WcsGeom.create(npix=(8, 7), binsz=0.5, frame="galactic", axes=[AXIS])
    found = model.evaluate_geom(larger)
    assert found.shape == (2, 7, 8)
    np.testing.assert_array_equal(found[:, 2:5, 2:6], counts().data)
    assert found.sum() == 276
    smaller = geom.cutout(SkyCoord(0.5, 0, unit="deg", frame="galactic"), 1 * u.deg)
    assert model.evaluate_geom(smaller).shape == (2, 2, 2)
    others = [
        WcsGeom.create(npix=(8, 7), binsz=0.4, frame="galactic", axes=[AXIS]),
        WcsGeom.create(npix=4, binsz=0.5, axes=[AXIS]),
        geom.replace_axis(MapAxis.from_energy_bounds("1 TeV", "50 TeV", nbin=2)),
    ]
    for other in others:
        with pytest.raises(ModelError, match="'a': the template must have the pixels and energies"):
            model.evaluate_geom(other)


def test_files(tmp_path):
    model = TemplateNPredModel(counts(), name="a b", datasets_names=["x"])
    model.spectral_model.norm = 0.7
    models = Models([model])
    models.write(tmp_path / "models.yaml")
    assert (tmp_path / "models_a_b.fits").is_file()
    new = Models.read(tmp_path / "models.yaml")["a b"]
    assert new.evaluate().is_allclose(model.evaluate(), rtol=1e-12)
    assert new.datasets_names == ["x"]
    # A file that is there is left as it is, unless it is asked for.
    models["a b"].map.data *= 2
    models.write(tmp_path / "models.yaml", overwrite=True)
    assert Models.read(tmp_path / "models.yaml")["a b"].map.data.sum() == 276
    models.write(tmp_path / "models.yaml", overwrite=True, overwrite_templates=True)
    assert Models.read(tmp_path / "models.yaml")["a b"].map.data.sum() == 552
    with pytest.raises(OverwriteError, match="models_a_b"):
        models["a b"].write()
    models["a b"].write(filename=tmp_path / "other.fits")
    assert models["a b"].filename == str(tmp_path / "other.fits")


def test_relative_files(tmp_path, monkeypatch):
    """A relative file is looked for beside the YAML first, then in the working directory."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    model = TemplateNPredModel(counts(), name="a", filename="a.fits")
    Models([model]).write("sub/models.yaml")
    assert (tmp_path / "a.fits").is_file()
    assert Models.read("sub/models.yaml")["a"].map.data.sum() == 276
    model.map.data *= 2
    model.write(filename="sub/a.fits")
    assert Models.read("sub/models.yaml")["a"].map.data.sum() == 552
    monkeypatch.setenv("VILLARD_TEST_FOLDER", str(tmp_path))
    model.filename = "$VILLARD_TEST_FOLDER/a.fits"
    new = Models.from_yaml(Models([model]).to_yaml())["a"]
    assert new.map.data.sum() == 276
    assert new.filename == "$VILLARD_TEST_FOLDER/a.fits"


def holes():
    result = counts()
    result.data[1, 1, 1] = np.nan
    return result


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"map": 3}, ModelError, "expected a map, found int"),
        ({"map": Map.create(npix=2)}, ModelError, "axis 'energy'"),
        ({"map": holes()}, ModelError, "a: the template has holes: 1 of 24"),
        ({"map": counts(unit="s")}, UnitsError, "counts without unit, found s"),
        ({"map": counts(), "spectral_model": PowerLawSpectralModel()}, UnitsError, "norm spectrum"),
        ({"map": counts(), "spatial_model": PowerLawSpectralModel()}, ModelError, "must be a SpatialModel"),
    ],
)
def test_templates_that_are_none(arguments, error, match):
    with pytest.raises(error, match=match):
        TemplateNPredModel(**arguments, name="a")


def test_damaged_files():
    data = Models([TemplateNPredModel(counts(), name="a")]).to_dict()
    with pytest.raises(ModelError, match="'a': expected 'filename'"):
        Models.from_dict(data)
    data["components"][0]["filename"] = "nowhere.fits"
    with pytest.raises(DataError, match=r"nowhere\.fits"):
        Models.from_dict(data)
    data["components"][0]["fielname"] = "a"
    with pytest.raises(ModelError, match="Did you mean 'filename'"):
        Models.from_dict(data)
    with pytest.raises(ModelError, match="has no filename"):
        TemplateNPredModel(counts()).write()
