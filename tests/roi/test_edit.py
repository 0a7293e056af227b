"""Sources added, removed and changed."""

import numpy as np
import pytest
from region_toys import point, toy_dataset, toy_roi

from villard.exceptions import ModelError, OverwriteError, ParameterError
from villard.maps import Map
from villard.roi import ROI


@pytest.fixture
def roi():
    roi = toy_roi()
    roi.free_sources(free=False)
    return roi


def test_sources_are_added_in_their_place_and_removed(roi):
    loglike = roi.loglike
    data = {"glon": 0.3, "glat": 0, "SpectrumType": "PowerLaw", "SpatialModel": "PointSource", "Index": 2}
    added = roi.add_source("new", data | {"Prefactor": 1e-13, "Scale": 2e4}, free=True)
    assert roi.models.names == ["B near", "new", "A far"]
    assert [p.name for p in added.model.parameters.free_parameters] == ["amplitude"]
    # As sources of catalogues: a source without signal ends at 0.
    assert (added.spectral_model.amplitude.min, added.spectral_model.index.bounds) == (0, (0, 5))
    assert added["npred"] > 0
    assert roi.loglike != loglike
    with pytest.raises(ModelError, match="there is a source 'NEW'"):
        roi.add_source("NEW", data)
    removed = roi.delete_source("new")
    assert removed is added
    assert roi.loglike == pytest.approx(loglike, rel=1e-12)
    assert [s.name for s in roi.delete_sources(distance=0.3)] == ["B near"]
    with pytest.raises(ModelError, match="at least one source must be left"):
        roi.delete_source("A far")


def test_sources_of_another_region_are_copied(roi):
    other = ROI(toy_dataset(models=[point("C", 0.4)]))
    (source,) = roi.add_sources_from_roi(["C"], other)
    assert source.model is not other["C"].model
    assert source["npred"] == pytest.approx(other["C"]["npred"])


def test_a_new_spectrum_goes_through_the_old_one(roi):
    source = roi["A far"]
    source.results["flux"] = 1e-9
    roi.free_norm("A far")
    reference = source.spectral_model.reference.quantity
    before, npred = source.spectral_model(reference), source["npred"]
    roi.set_source_spectrum("A far", "LogParabola")
    assert roi["A far"] is source
    # Results are of the present model: those that only a fit gives are forgotten.
    flux = source.spectral_model.integral(*roi.energy_bounds).to_value("cm-2 s-1")
    assert source["flux"] == pytest.approx(flux, rel=1e-10)
    assert np.isnan(source["flux_ul95"])
    assert np.isnan(source["ts"])
    spectrum = source.spectral_model
    assert spectrum.tag[0] == "LogParabolaSpectralModel"
    np.testing.assert_allclose(spectrum(reference).to_value(before.unit), before.value)
    assert spectrum.alpha.value == pytest.approx(2)
    assert [p.name for p in source.model.parameters.free_parameters] == ["amplitude"]
    assert source["npred"] == pytest.approx(npred, rel=0.1)
    roi.set_source_spectrum("A far", "PowerLaw", {"Index": 3.0, "Prefactor": 1e-13, "Scale": 1e4})
    assert source.spectral_model.index.value == 3
    assert source.spectral_model.amplitude.quantity.to_value("cm-2 s-1 MeV-1") == pytest.approx(1e-13)
    with pytest.raises(ModelError, match="PowerLow"):
        roi.set_source_spectrum("A far", "PowerLow")


def test_a_table_as_spectrum(roi):
    source = roi["A far"]
    npred = source["npred"]
    energies = np.geomspace(5e3, 5e5, 60) * roi.energy_edges.unit
    roi.set_source_dnde("A far", source.spectral_model(energies), energies)
    assert source["npred"] == pytest.approx(npred, rel=1e-6)


def test_a_new_morphology_keeps_the_position(roi):
    source = roi["B near"]
    position, npred = source.skydir, source["npred"]
    roi.set_source_morphology("B near", "RadialGaussian", {"SpatialWidth": 0.3})
    assert source.extended
    assert source.skydir.separation(position).deg < 1e-9
    assert source.spatial_model.sigma.quantity.to_value("deg") == pytest.approx(0.3 / 1.5095921854516636)
    assert source["npred"] == pytest.approx(npred, rel=0.02)
    roi.set_source_morphology("B near", spatial_model="PointSource", glon=0.9, glat=0.0)
    assert roi.models.names == ["A far", "B near"]
    with pytest.raises(ParameterError, match="expected a spatial_model"):
        roi.set_source_morphology("B near")


def test_predictions_as_maps(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    total = roi.model_counts_map()
    one = roi.model_counts_map("A far")
    np.testing.assert_allclose(one.data.sum(), roi["A far"]["npred"])
    np.testing.assert_allclose(roi.model_counts_spectrum("A far")[0].sum(), one.data.sum())
    # Of all sources with the background, of some without.
    rest = roi.model_counts_map("B near").data + roi.datasets[0].background.data
    np.testing.assert_allclose(total.data, one.data + rest)
    np.testing.assert_allclose(roi.model_counts_map(exclude="A far").data, rest)
    path = roi.write_model_map("all")
    assert path.name == "mcube_all.fits"
    (tmp_path / "folder").mkdir()
    roi.write_roi("folder/first", save_model_map=True, save_weight_map=True)
    assert (tmp_path / "folder" / "mcube_first.fits").exists()
    np.testing.assert_allclose(Map.read(path).data, total.data)
    roi.models.write("models.yaml")
    roi.zero_source("A far")
    np.testing.assert_allclose(roi.generate_model("models.yaml")["a"].data, total.data)
    assert roi["A far"].spectral_model.amplitude.value == 0
    np.testing.assert_allclose(roi.counts_map().data, roi.datasets[0].counts.data)


def test_model_maps_of_several_components(tmp_path, monkeypatch):
    """The sum, and each by itself; nothing is replaced unless asked for."""
    monkeypatch.chdir(tmp_path)
    models = [point("C", 0.4)]
    roi = ROI([toy_dataset("a", models), toy_dataset("b", models)])
    path = roi.write_model_map("two")
    names = sorted(item.name for item in tmp_path.iterdir())
    assert names == ["mcube_two.fits", "mcube_two_00.fits", "mcube_two_01.fits"]
    parts = [Map.read(tmp_path / name).data for name in names[1:]]
    np.testing.assert_allclose(parts[0], roi.datasets[0].npred().data, rtol=1e-6)
    np.testing.assert_allclose(Map.read(path).data, parts[0] + parts[1], rtol=1e-6)
    with pytest.raises(OverwriteError):
        roi.write_model_map("two")
    roi.write_model_map("two", overwrite=True)
    # As does the extension.
    maps = roi.extension("C", width=[0.2], save_model_map=True, make_tsmap=False)
    for kind in ("tot", "src", "bkg"):
        total = maps[f"ext_{kind}_map_00"].data + maps[f"ext_{kind}_map_01"].data
        np.testing.assert_allclose(maps[f"ext_{kind}_map"].data, total)


def test_energy_range_and_weights(roi):
    npred = roi["A far"]["npred"]
    energies = roi.set_energy_range(4.0, 4.4)
    np.testing.assert_allclose(energies.to_value("MeV"), [10000, 21544.3], rtol=1e-4)
    assert roi["A far"]["npred"] < npred
    roi.set_energy_range()
    assert roi["A far"]["npred"] == pytest.approx(npred)
    # Pixels that are out of the fit, such as those beyond a Galactic cube, stay so.
    dataset = roi.datasets[0]
    half = np.broadcast_to(np.arange(dataset.data_shape[2]) < 10, dataset.data_shape)
    dataset.mask_fit = dataset.counts.copy(data=half, unit="")
    roi.set_energy_range(4.0, 4.4)
    assert dataset.mask_fit.data.sum() == half[0].sum()
    roi.set_energy_range()
    np.testing.assert_array_equal(dataset.mask_fit.data, half)
    dataset.mask_fit = None
    weights = roi.datasets[0].counts.copy(data=np.full(roi.datasets[0].data_shape, 0.25))
    roi.set_weights_map(weights)
    assert roi["A far"]["npred_wt"] == pytest.approx(0.25 * npred)
    with pytest.raises(ParameterError, match="expected a map or its file, found 3"):
        roi.set_weights_map(3)
    roi.set_weights_map(None)
    assert roi["A far"]["npred_wt"] == pytest.approx(npred)
    with pytest.raises(ModelError, match="expected a name or a spectrum, found None"):
        roi.set_source_spectrum("A far", None)
    with pytest.raises(ModelError, match="add_source: expected a name, found 3"):
        roi.add_source(3, {})


def test_sources_outside_of_the_cubes(roi, caplog):
    far = {"glon": 30.0, "glat": 0.0, "Prefactor": 1e-13, "Index": 2.0}
    loglike = roi.loglike
    with pytest.raises(ModelError, match="wholly outside"):
        roi.add_source("lost", far, free=True)
    # The region is as it was.
    assert "lost" not in roi
    assert roi.models.names == ["B near", "A far"]
    assert roi.loglike == loglike
    roi.add_source("lost", far)
    assert "lost, 30.00 deg from the centre, has no predicted counts" in caplog.text
    roi.free_norm("A far")
    with pytest.raises(ModelError, match="wholly outside"):
        roi.set_source_morphology("A far", "PointSource", glon=50.0, glat=0.0)
    assert roi["A far"].offset < 1
    assert np.isfinite(roi.fit(update=False)["loglike"])


def test_locks_and_scales_end_with_their_parameters(roi):
    roi.lock_parameter("A far", "Index")
    roi.lock_parameter("A far", "Prefactor")
    roi.set_source_spectrum("A far", "LogParabola")
    assert roi.locked == {("A far", "amplitude")}
    assert roi.optimize()["dloglike"] >= 0
    roi.set_source_spectrum("A far", "PowerLaw2", {"Integral": 3e-9, "LowerLimit": 1e4, "UpperLimit": 1e5})
    assert roi.parameter_scale("A far", "amplitude") == 1e-9
