import astropy.units as u
import numpy as np
import pytest
from dataset_toys import as_map, onoff_dataset, power_law, spectrum_dataset
from numpy.testing import assert_allclose

from villard.datasets import Datasets, SpectrumDataset, SpectrumDatasetOnOff
from villard.datasets.core import Dataset
from villard.exceptions import ConfigError, DataError, FileFormatError, ModelError, OverwriteError
from villard.modeling.models import GaussianPrior


@pytest.fixture
def datasets():
    return Datasets([onoff_dataset(name="on-off"), spectrum_dataset(name="known")])


def test_sequence(datasets):
    assert datasets.names == ["on-off", "known"]
    assert len(datasets) == 2
    assert datasets["known"] is datasets[1] is datasets[-1]
    assert datasets[:1].names == ["on-off"]
    assert "known" in datasets
    assert datasets[0] in datasets
    assert "other" not in datasets
    assert [d.name for d in datasets] == datasets.names
    datasets.append(spectrum_dataset(name="more"))
    datasets.insert(0, spectrum_dataset(name="first"))
    assert datasets.names == ["first", "on-off", "known", "more"]
    datasets["more"] = spectrum_dataset(name="last")
    del datasets["first"]
    datasets.remove(datasets["known"])
    assert datasets.names == ["on-off", "last"]
    assert Datasets(datasets[0]).names == ["on-off"]
    assert Datasets(datasets).names == datasets.names
    with pytest.raises(IndexError):
        datasets[5]


def test_names_are_unique_and_entries_datasets(datasets):
    with pytest.raises(DataError, match="Two datasets are called 'known'"):
        datasets.append(spectrum_dataset(name="known"))
    with pytest.raises(DataError, match="Two datasets are called 'toy'"):
        Datasets([spectrum_dataset(), onoff_dataset()])
    with pytest.raises(DataError, match="Two datasets are called 'known'"):
        datasets[0] = spectrum_dataset(name="known")
    with pytest.raises(DataError, match="Expected a dataset, found int"):
        Datasets([1])
    with pytest.raises(DataError, match="found dict"):
        Datasets({"a": spectrum_dataset()})
    with pytest.raises(DataError, match=r"No dataset 'on_off'. Did you mean 'on-off'"):
        datasets["on_off"]
    with pytest.raises(DataError, match="'toy' is not in this collection"):
        datasets.index(spectrum_dataset())


def test_models_go_to_the_datasets_they_contribute_to(datasets):
    mine = power_law(name="mine", datasets_names="known")
    every = power_law(name="all")
    datasets.models = [mine, every]
    assert datasets["on-off"].models.names == ["all"]
    assert datasets["known"].models.names == ["mine", "all"]
    assert datasets.models.names == ["all", "mine"]
    assert datasets.models["mine"] is mine
    assert len(datasets.parameters) == 6
    with pytest.raises(ModelError, match=r"Model 'lost' contributes to no dataset: .*'nowhere'"):
        datasets.models = [power_law(name="lost", datasets_names="nowhere")]
    datasets.models = None
    assert len(datasets.models) == 0
    assert datasets["known"].models is None


def test_the_statistic_has_priors_once(datasets):
    model = power_law(index=2.0)
    datasets.models = model
    parts = [d.stat_sum() for d in datasets]
    assert_allclose(datasets.stat_sum(), sum(parts))
    model.spectral_model.index.prior = GaussianPrior(mu=2.1, sigma=0.1)
    prior = model.parameters.prior_stat_sum()
    assert_allclose(datasets.stat_sum(), sum(parts) + prior)
    assert_allclose([d.stat_sum() for d in datasets], np.array(parts) + prior)


def test_properties(datasets):
    assert not datasets.is_all_same_type
    assert datasets.is_all_same_shape
    assert datasets.is_all_same_energy_shape
    datasets[0].mask_safe = as_map([False, True, True, False])
    low, high = datasets.energy_ranges
    edges = datasets[0].counts.geom.axes["energy"].edges
    assert_allclose(low.to_value("TeV"), edges[[1, 0]].to_value("TeV"))
    assert_allclose(high.to_value("TeV"), edges[[3, 4]].to_value("TeV"))
    assert "Type       : SpectrumDatasetOnOff" in str(datasets)
    assert repr(datasets).startswith("Datasets([SpectrumDatasetOnOff(name='on-off')")


def test_copies_have_copies_of_the_models(datasets):
    datasets.models = power_law()
    copy = datasets.copy()
    assert copy.names == datasets.names
    copy.models["source"].spectral_model.index.value = 3
    assert datasets.models["source"].spectral_model.index.value == 2
    # Both datasets of the copy share one model, as before.
    assert copy[0].models["source"] is copy[1].models["source"]


def test_slice_by_energy(datasets):
    datasets.models = power_law()
    parts = datasets.slice_by_energy(1 * u.TeV, 3 * u.TeV)
    assert parts.names == datasets.names
    assert [d.data_shape for d in parts] == [(2, 1, 1)] * 2
    assert parts.models["source"] is datasets.models["source"]
    assert len(datasets.slice_by_energy(50 * u.TeV, 60 * u.TeV)) == 0


def test_info_table():
    runs = Datasets([onoff_dataset(name="a"), onoff_dataset(counts=[1, 1, 1, 1], name="b", livetime=300)])
    table = runs.info_table()
    assert table["name"].tolist() == ["a", "b"]
    assert table["counts"].tolist() == [11, 4]
    assert table["livetime"].unit == u.s
    total = runs.info_table(cumulative=True)
    assert total["counts"].tolist() == [11, 15]
    assert total["livetime"].tolist() == [100, 400]
    assert_allclose(total["sqrt_ts"][-1], runs.stack_reduce().info_dict()["sqrt_ts"])
    assert len(Datasets().info_table()) == 0
    mixed = Datasets([spectrum_dataset(name="known"), onoff_dataset(name="on-off")]).info_table()
    assert np.isnan(mixed["alpha"][0])
    assert_allclose(mixed["alpha"][1], 0.2)


def test_yaml_round_trip(datasets, tmp_path):
    datasets.models = power_law(index=2.7, name="crab")
    datasets.models["crab"].spectral_model.index.error = 0.1
    datasets.write(tmp_path / "all.yaml", filename_models=tmp_path / "models.yaml")
    text = (tmp_path / "all.yaml").read_text()
    assert text == (
        "datasets:\n- name: on-off\n  type: SpectrumDatasetOnOff\n  filename: pha_obson-off.fits\n"
        "- name: known\n  type: SpectrumDataset\n  filename: known.fits\n"
    )
    copy = Datasets.read(tmp_path / "all.yaml", filename_models=tmp_path / "models.yaml")
    assert copy.names == datasets.names
    assert [type(d) for d in copy] == [SpectrumDatasetOnOff, SpectrumDataset]
    assert copy.models["crab"].spectral_model.index.value == 2.7
    assert copy.models["crab"].spectral_model.index.error == 0.1
    assert_allclose(copy.stat_sum(), datasets.stat_sum(), rtol=1e-12)
    with pytest.raises(OverwriteError, match=r"all.yaml"):
        datasets.write(tmp_path / "all.yaml")
    datasets.write(tmp_path / "all.yaml", overwrite=True)
    with pytest.raises(OverwriteError, match=r"pha_obson-off.fits"):
        datasets.write(tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()


def test_file_names_are_safe(tmp_path):
    Datasets([spectrum_dataset(name="a/b c")]).write(tmp_path / "x.yaml")
    assert (tmp_path / "a_b_c.fits").exists()
    assert Datasets.read(tmp_path / "x.yaml").names == ["a/b c"]
    with pytest.raises(DataError, match=r"would be written to .*a_b.fits"):
        Datasets([spectrum_dataset(name="a b"), spectrum_dataset(name="a/b")]).write(tmp_path / "y.yaml")


def test_yaml_of_real_data(gammapy_data, tmp_path):
    path = tmp_path / "datasets.yaml"
    path.write_text(
        "datasets:\n- name: run\n  type: SpectrumDatasetOnOff\n"
        "  filename: $GAMMAPY_DATA/joint-crab/spectra/hess/pha_obs23523.fits\n"
    )
    assert Datasets.read(path)["run"].info_dict()["counts"] == 124


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "datasets:\n- {name: x, type: MapDatset, filename: x.fits}",
            ConfigError,
            "dataset 'x': unknown type of dataset 'MapDatset'",
        ),
        ("datasets:\n- {name: x, type: SpectrumDataset}", ConfigError, "Dataset 'x': expected a filename"),
        (
            "datasets:\n- {name: x, type: SpectrumDataset, filename: x.fits}",
            DataError,
            "File not found: .*x.fits",
        ),
        ("datasets:\n- name", ConfigError, "expected name, type and filename of a dataset, found 'name'"),
        ("datasets: 5", ConfigError, "expected a list 'datasets'"),
        ("- 1", ConfigError, "expected a list 'datasets'"),
        ("a: [", FileFormatError, "not a YAML file"),
    ],
)
def test_bad_yaml_is_named(tmp_path, text, error, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        Datasets.read(path)


def test_missing_yaml(tmp_path):
    with pytest.raises(FileFormatError, match=r"Datasets file not found: .*no.yaml"):
        Datasets.read(tmp_path / "no.yaml")


def test_a_class_of_ones_own():
    """Any class of datasets can join, with its measurement."""

    class Counter(Dataset):
        tag = "Counter"
        mask = None
        data_shape = (1,)

        def measurement(self):
            return spectrum_dataset().measurement()

        def stat_array(self):
            return spectrum_dataset().stat_array()

        def copy(self, name=None):
            return Counter(name=name)

        @classmethod
        def read(cls, filename, *, name=None):
            return cls(name=name)

        def write(self, filename, overwrite=False):
            pass

    datasets = Datasets([Counter(name="own"), spectrum_dataset()])
    assert_allclose(datasets.stat_sum(), 2 * spectrum_dataset().stat_sum())
    assert Datasets.from_dict({"datasets": [{"name": "z", "type": "Counter", "filename": "x"}]}).names == [
        "z"
    ]
    with pytest.raises(DataError, match="'own': a Counter can't be stacked"):
        datasets.stack_reduce()
