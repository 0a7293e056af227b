"""Regions written to files and read from them."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from region_toys import toy_roi, write_all, write_counts, write_isotropic

from villard.exceptions import FileFormatError, ModelError, OverwriteError, ParameterError
from villard.modeling.models.gtlike import read_gtlike_xml
from villard.roi import ROI

# Columns of fermipy's table, as of its version 1.4.
KEYS = json.loads((Path(__file__).parents[1] / "reference" / "fermipy_keys.json").read_text())
FERMIPY = KEYS["catalog_columns"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A region of files of the Fermi tools, with a cube of its own, fitted."""
    folder = tmp_path_factory.mktemp("files")
    config = write_all(folder) | {"fileio": {"outdir": str(folder / "out")}}
    roi = ROI.from_config(config)
    roi.free_norm("source")
    roi.free_norm("isodiff")
    roi.fit()
    roi.lock_parameter("source", "index")
    roi.add_gauss_prior("source", "Index", -2.2, 0.3)
    roi.set_norm_bounds("source", [0, 1e3])
    return roi, folder


def same(one, two):
    assert one.models.names == two.models.names
    assert [p.value for p in one.parameters] == [p.value for p in two.parameters]
    np.testing.assert_array_equal(one.get_free_param_vector(), two.get_free_param_vector())
    np.testing.assert_allclose(one.loglike, two.loglike, rtol=1e-12)


def test_a_written_region_is_read_as_it_was(fitted, caplog):
    roi, folder = fitted
    paths = roi.write_roi("fit1")
    names = {path.name for path in paths}
    assert names == {"fit1.fits", "fit1.yaml", "fit1_covariance.dat", "fit1_roi.fits", "fit1_00.xml"}
    assert all(path.parent == folder / "out" for path in paths)
    again = ROI.load_roi(folder / "out" / "fit1")
    same(roi, again)
    assert again.locked == {("source", "index")}
    assert again.parameter_scale("source", "amplitude") == roi.parameter_scale("source", "amplitude")
    source, other = roi["source"], again["source"]
    for key in ("ts", "npred", "flux", "flux_err", "flux_ul95", "eflux"):
        np.testing.assert_allclose(other[key], source[key], err_msg=key)
    np.testing.assert_allclose(other["dloglike_scan"], source["dloglike_scan"])
    np.testing.assert_allclose(other.spectral_model.amplitude.error, source.spectral_model.amplitude.error)
    assert "has a file of a model changed" not in caplog.text
    # And it goes on from there.
    assert abs(again.fit()["loglike"] - roi.fit()["loglike"]) < 1e-6


def test_tables_have_the_columns_of_fermipy(fitted):
    roi, _folder = fitted
    (path, *_) = roi.write_roi("tables")
    with fits.open(path) as hdulist:
        assert [hdu.name for hdu in hdulist[1:]] == ["CATALOG", "ROI", "SOURCES", "PARAMS", "CONFIG"]
    table = Table.read(path, hdu="CATALOG")
    assert not set(FERMIPY) - set(table.colnames)
    row = table[0]
    assert row["Source_Name"] == "source"
    assert row["SpatialModel"] == "PointSource"
    np.testing.assert_allclose([row["GLON"], row["GLAT"]], [0.2, 0.1], rtol=1e-9)
    spectrum = roi["source"].spectral_model
    np.testing.assert_allclose(row["Spectral_Index"], spectrum.index.value)
    np.testing.assert_allclose(row["Flux_Density"], spectrum.amplitude.value)
    assert [name.decode() for name in row["param_names"][:3]] == ["Prefactor", "Index", "Scale"]
    np.testing.assert_allclose(row["param_values"][1], -spectrum.index.value)
    assert str(table["eflux"].unit) == "MeV / (s cm2)"
    counts = Table.read(path, hdu="ROI")
    assert counts["counts"].sum() == roi.datasets[0].counts.data.sum()
    params = Table.read(path, hdu="PARAMS")
    assert len(params) == len(roi.parameters)
    assert list(params["free"]) == list(roi.get_free_param_vector())


def test_xml_is_for_gtlike(fitted):
    roi, folder = fitted
    roi.write_roi("xml")
    models = read_gtlike_xml(folder / "out" / "xml_00.xml")
    np.testing.assert_allclose(
        models["source"].spectral_model.amplitude.quantity.to_value("cm-2 s-1 MeV-1"),
        roi["source"].spectral_model.amplitude.quantity.to_value("cm-2 s-1 MeV-1"),
    )


def test_files_are_replaced_as_the_configuration_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    roi = toy_roi()
    roi.zero_source("A far")
    roi.write_roi("a.fits")
    with pytest.raises(OverwriteError, match=r"a\.fits"):
        roi.write_roi("a")
    roi.write_roi("a", overwrite=True)
    again = ROI.load_roi("a")
    same(roi, again)
    assert again["A far"].catalog["ASSOC1"] == "M 31"
    again.unzero_source("A far")
    assert again["A far"].spectral_model.amplitude.value == 2e-13


def test_values_from_files(tmp_path):
    roi = toy_roi()
    (tmp_path / "values.yaml").write_text(
        yaml.safe_dump({"A far": {"Index": -2.5, "amplitude": {"value": 3e-13, "free": False}}})
    )
    roi.load_parameters_from_yaml(tmp_path / "values.yaml")
    spectrum = roi["A far"].spectral_model
    assert (spectrum.index.value, spectrum.amplitude.value, spectrum.amplitude.frozen) == (2.5, 3e-13, True)
    with pytest.raises(ParameterError, match="no parameter 'Indx'"):
        roi.load_parameters_from_yaml({"A far": {"Indx": 2}})
    with pytest.raises(FileFormatError, match="unknown key 'valu'"):
        roi.load_parameters_from_yaml({"A far": {"index": {"valu": 2}}})


def test_files_that_arent_regions(tmp_path):
    with pytest.raises(FileFormatError, match="no such file"):
        ROI.load_roi(tmp_path / "none")
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "empty.fits")
    with pytest.raises(FileFormatError, match="expected tables CATALOG and CONFIG"):
        ROI.load_roi(tmp_path / "empty")
    table = fits.table_to_hdu(Table({"name": ["a"]}))
    hdus = [fits.PrimaryHDU(), table, fits.ImageHDU(name="CONFIG")]
    hdus[1].name = "CATALOG"
    fits.HDUList(hdus).writeto(tmp_path / "fermipy.fits")
    with pytest.raises(FileFormatError, match="load the XML file with load_xml"):
        ROI.load_roi(tmp_path / "fermipy")


def test_models_of_an_xml_file_replace_those_that_are_there(fitted):
    roi, folder = fitted
    roi.write_roi("other")
    again = ROI.load_roi(folder / "out" / "other")
    again.set_parameter("source", "index", 3.0)
    again.remove_priors()
    again.load_xml(folder / "out" / "other_00.xml")
    assert again["source"].spectral_model.index.value == pytest.approx(
        roi["source"].spectral_model.index.value
    )


def test_nothing_is_left_out_of_the_xml(fitted, caplog):
    """Isotropic emission goes by its own file, a spectrum that is a table by one that is written."""
    roi, folder = fitted
    roi.write_roi("start")
    again = ROI.load_roi(folder / "out" / "start")
    energies = np.geomspace(5e3, 5e5, 60) * again.energy_edges.unit
    again.set_source_dnde("source", again["source"].spectral_model(energies), energies)
    again["source"].spatial_model.lon_0.min = np.nan
    paths = again.write_roi("table")
    assert folder / "out" / "table_source.txt" in paths
    assert "left out" not in caplog.text
    # What isn't known is NaN, and can be written again.
    assert isinstance(again["isodiff"]["flux_ul95"], float)
    models = read_gtlike_xml(folder / "out" / "table_00.xml")
    assert sorted(models.names) == sorted(again.models.names)
    loglike = again.loglike
    again.load_xml(folder / "out" / "table_00.xml")
    assert again.loglike == pytest.approx(loglike, rel=1e-9)
    # Of a region made of files, it is the isotropic file itself.
    assert f'file="{folder / "iso.txt"}"' in (folder / "out" / "start_00.xml").read_text()


def test_parameters_without_limits_stay_so(fitted):
    _, folder = fitted
    again = ROI.load_roi(folder / "out" / "start")
    again.set_source_morphology("source", "RadialGaussian", SpatialWidth=0.2)
    sigma = again["source"].spatial_model.sigma
    sigma.min = sigma.max = np.nan
    again.write_roi("wide")
    other = ROI.load_roi(folder / "out" / "wide")["source"].spatial_model.sigma
    assert np.isnan(other.min)
    assert np.isnan(other.max)


def two_components(folder):
    """A configuration of two components, with isotropic emission of their own."""
    config = write_all(folder)
    write_counts(folder / "counts2.fits", event_type=8, seed=5)
    write_isotropic(folder / "iso2.txt", high=2e6)
    iso = config["model"].pop("isodiff")
    second = {"counts": str(folder / "counts2.fits"), "isodiff": str(folder / "iso2.txt")}
    return config | {"components": {"A": {"isodiff": iso}, "B": second}}


def test_xml_files_of_components(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    config = two_components(tmp_path)
    roi = ROI.from_config(config)
    roi.set_parameter("source", "index", 2.5)
    roi.set_norm("isodiff_A", 1.7)
    roi.write_roi("both")
    again = ROI.from_config(config)
    again.load_xml("both")
    assert again.loglike == pytest.approx(roi.loglike, rel=1e-12)
    assert again.models.names == roi.models.names
    expected = [cube.data.sum() for cube in roi.generate_model().values()]
    found = [cube.data.sum() for cube in ROI.from_config(config).generate_model("both").values()]
    np.testing.assert_allclose(found, expected)
    norms = [again[f"isodiff_{name}"].spectral_model.model2.norm for name in "AB"]
    assert norms[0] is norms[1]
    # One file says nothing of what others have.
    again.load_xml("both_00.xml")
    assert "it hasn't 'isodiff_B', which stays as it is" in caplog.text
    assert again.loglike == pytest.approx(roi.loglike, rel=1e-12)
    # fermipy gives isotropic emission of all components one name.
    for number, name in enumerate("AB"):
        file = tmp_path / f"both_{number:02d}.xml"
        file.write_text(file.read_text().replace(f"isodiff_{name}", "isodiff"))
    again.load_xml(tmp_path / "both")
    assert again.loglike == pytest.approx(roi.loglike, rel=1e-12)
    file.write_text(file.read_text().replace('value="2.5"', 'value="2.6"'))
    with pytest.raises(ModelError, match=r"both_01\.xml: source 'source' has index = 2\.6, but 2\.5 in"):
        again.load_xml("both")
    with pytest.raises(FileFormatError, match=r"neither: no such XML file, nor is there neither_00\.xml"):
        again.load_xml("neither")
