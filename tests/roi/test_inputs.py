"""Files of the Fermi tools as datasets."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import region_toys as toys

from villard.exceptions import ConfigError, DataError
from villard.irf import PSFMap
from villard.maps import Map
from villard.modeling.models.gtlike import write_gtlike_xml
from villard.roi import ROI
from villard.roi.config import read_roi_config
from villard.roi.config_models import _joined
from villard.roi.inputs import exposure_from_psf, read_gtdrm


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fermi")
    return folder, toys.write_all(folder)


def changed(config, **changes):
    """Return a configuration with other entries: section__key=value."""
    config = copy.deepcopy(config)
    for key, value in changes.items():
        section, name = key.split("__")
        config.setdefault(section, {})[name] = value
    return config


def test_files_become_a_dataset_with_margin_bins_and_models(files):
    roi = ROI.from_config(files[1])
    (dataset,) = roi.datasets
    true = dataset.exposure.geom.axes["energy_true"]
    assert true.nbin == 5
    assert dataset.counts.data.shape == (3, 20, 20)
    # The exposure is a power law of slope 0.5, known at three of the six edges.
    np.testing.assert_allclose(
        dataset.exposure.data[:, 3, 3], 1e11 * np.sqrt(true.center.to_value("MeV") / 1e4)
    )
    assert roi.models.names == ["source", "galdiff", "isodiff"]
    assert not roi.parameters.free_parameters
    assert roi["source"]["npred"] > 10
    assert roi["source"].spectral_model.amplitude.min == 0


def test_energy_dispersion_moves_counts_also_from_margin_bins(files):
    config = changed(files[1], gtlike__edisp=False)
    plain, folded = ROI.from_config(config), ROI.from_config(files[1])
    kernel = read_gtdrm(files[0] / "drm.fits")
    source = folded["source"].model
    low, high = kernel.axes["energy_true"].edges[:-1], kernel.axes["energy_true"].edges[1:]
    flux = source.spectral_model.integral(low, high).to_value("cm-2 s-1")
    exposure = folded.datasets[0].exposure.data[:, 10, 10]
    expected = (flux * exposure) @ kernel.pdf_matrix
    npred = folded.datasets[0].npred_signal("source").data.sum(axis=(1, 2))
    contained = npred.sum() / expected.sum()
    assert 0.99 < contained < 1
    np.testing.assert_allclose(npred, expected * contained, rtol=1e-3)
    assert abs(plain["source"]["npred"] / folded["source"]["npred"] - 1) > 0.003
    # Isotropic emission isn't dispersed, and others aren't where that is asked for.
    assert plain["isodiff"]["npred"] == pytest.approx(folded["isodiff"]["npred"])
    off = ROI.from_config(changed(files[1], gtlike__edisp_disable=["source"]))
    assert off["source"]["npred"] == pytest.approx(plain["source"]["npred"], rel=1e-6)
    assert off["galdiff"]["npred"] == pytest.approx(folded["galdiff"]["npred"])


def test_region_and_energies_are_cut_and_what_is_beyond_becomes_a_margin(files):
    config = changed(files[1], binning__roiwidth=[1.0, 0.6], selection__emin=toys.EDGES[1])
    roi = ROI.from_config(config)
    assert roi.datasets[0].counts.data.shape == (2, 6, 10)
    assert roi.datasets[0].exposure.geom.axes["energy_true"].nbin == 5
    np.testing.assert_allclose(roi.energy_bounds.to_value("MeV"), toys.EDGES[[1, 3]])
    with pytest.raises(ConfigError, match=r"12345 MeV isn't an edge of its bins: 10000, 21544\.3"):
        ROI.from_config(changed(files[1], selection__emin=12345.0))


def test_weights_are_cut_with_the_counts(files):
    folder, config = files
    weights = Map.read(folder / "counts.fits").copy()
    weights.data = np.full(weights.data.shape, 0.5)
    weights.write(folder / "weights.fits", overwrite=True)
    plain = ROI.from_config(changed(config, binning__roiwidth=1.0))
    weighted = ROI.from_config(
        changed(config, binning__roiwidth=1.0, data__weights=str(folder / "weights.fits"))
    )
    assert weighted["source"]["npred_wt"] == pytest.approx(0.5 * weighted["source"]["npred"])
    assert weighted["source"]["npred"] == pytest.approx(plain["source"]["npred"])
    assert weighted.loglike == pytest.approx(0.5 * plain.loglike, rel=1e-12)


def test_exposure_of_gtpsf_stands_in_for_a_map(files):
    roi = ROI.from_config(changed(files[1], data__exposure="psf"))
    with_map = ROI.from_config(files[1])
    np.testing.assert_allclose(
        roi.datasets[0].exposure.data[:, 5, 5], with_map.datasets[0].exposure.data[:, 5, 5], rtol=1e-6
    )
    psf = PSFMap.read(files[0] / "psf.fits", format="gtpsf")
    exposure = exposure_from_psf(psf, roi.geom, roi.datasets[0].exposure.geom.axes["energy_true"])
    np.testing.assert_allclose(exposure.data, roi.datasets[0].exposure.data)
    with pytest.raises(ConfigError, match="'exposure: psf' takes that of the file of gtpsf"):
        ROI.from_config(changed(files[1], data__exposure=None))


def test_scaled_exposure_and_no_psf(files):
    half = ROI.from_config(changed(files[1], gtlike__expscale=0.5))
    assert half["source"]["npred"] == pytest.approx(0.5 * ROI.from_config(files[1])["source"]["npred"])
    sharp = ROI.from_config(changed(files[1], gtlike__convolve=False))
    assert sharp.datasets[0].psf is None


def test_two_components_share_sources_and_have_their_own_isotropic_emission(files):
    folder, config = files
    if not (folder / "counts2.fits").exists():
        toys.write_counts(folder / "counts2.fits", event_type=8, seed=5)
        toys.write_isotropic(folder / "iso2.txt", high=2e6)
    config = copy.deepcopy(config)
    iso = config["model"].pop("isodiff")
    config["components"] = {
        "psf0": {"model": {"isodiff": iso}, "selection": {"evtype": 4}},
        "psf1": {"counts": str(folder / "counts2.fits"), "isodiff": str(folder / "iso2.txt")},
    }
    roi = ROI.from_config(config)
    assert roi.datasets.names == ["psf0", "psf1"]
    assert roi.models.names == ["source", "galdiff", "isodiff_psf0", "isodiff_psf1"]
    one, two = (roi[f"isodiff_psf{i}"] for i in range(2))
    assert one.model.parameters["norm"] is two.model.parameters["norm"]
    assert one.model.datasets_names == ["psf0"]
    both = sum(dataset.npred_signal("source").data.sum() for dataset in roi.datasets)
    assert roi["source"]["npred"] == pytest.approx(both)


def test_components_that_disagree(files):
    folder, config = files
    for name, event_type, npix in [("same_type", 12, 20), ("small", 8, 10)]:
        if not (folder / f"{name}.fits").exists():
            toys.write_counts(folder / f"{name}.fits", event_type=event_type, npix=npix)

    def with_second(**keys):
        return {**config, "components": [{"name": "first"}, {"name": "second", **keys}]}

    with pytest.raises(ConfigError, match="'first' and 'second' have the same counts"):
        ROI.from_config(with_second())
    with pytest.raises(ConfigError, match="the same events: the cubes are of the event types 4 and 12"):
        ROI.from_config(with_second(counts=str(folder / "same_type.fits")))
    with pytest.raises(ConfigError, match=r"of different regions: 2 x 2 deg .*, and 1 x 1 deg"):
        ROI.from_config(with_second(counts=str(folder / "small.fits")))
    ROI.from_config({**with_second(counts=str(folder / "small.fits")), "binning": {"roiwidth": 1.0}})
    with pytest.raises(ConfigError, match=r"'second': model\.galdiff is shared"):
        ROI.from_config(with_second(model={"galdiff": "x.fits"}))


def test_responses_that_dont_cover_the_counts(files, tmp_path):
    _, config = files
    toys.write_exposure(tmp_path / "small.fits", npix=10)
    with pytest.raises(DataError, match="covers 100 of 400 pixels of the counts"):
        ROI.from_config(changed(config, data__exposure=str(tmp_path / "small.fits")))
    toys.write_exposure(tmp_path / "low.fits", edges=toys.EDGES[:2])
    with pytest.raises(DataError, match="the exposure covers energies from"):
        ROI.from_config(changed(config, data__exposure=str(tmp_path / "low.fits")))
    toys.write_psf(tmp_path / "psf.fits", energies=np.geomspace(1e4, 3e4, 5))
    with pytest.raises(DataError, match="the PSF covers energies from"):
        ROI.from_config(changed(config, data__psf=str(tmp_path / "psf.fits")))
    toys.write_drm(tmp_path / "drm.fits", edges=np.geomspace(1e4, 2e5, 4))
    with pytest.raises(ConfigError, match="the energy dispersion has the reconstructed energies"):
        ROI.from_config(changed(config, data__edisp=str(tmp_path / "drm.fits")))


def test_diffuse_files_that_dont_cover_the_region(files, tmp_path, caplog):
    _, config = files
    toys.write_isotropic(tmp_path / "iso.txt", high=5e4)
    with pytest.raises(
        ConfigError, match=r"iso\.txt spans energies from 30 to 50000 MeV, the counts of 'roi'"
    ):
        ROI.from_config(changed(config, model__isodiff=str(tmp_path / "iso.txt")))
    toys.write_galactic(tmp_path / "small.fits", npix=12)
    small = changed(config, model__galdiff=str(tmp_path / "small.fits"))
    with pytest.raises(
        ConfigError, match=r"galdiff covers 225 of 400 pixels of 'roi': those of columns 2 to 16"
    ):
        ROI.from_config(small)
    outside = config["model"]["sources"] + [{**config["model"]["sources"][0], "name": "far", "glon": 0.9}]
    with pytest.raises(ConfigError, match=r"; outside are the sources far\. Set"):
        ROI.from_config(changed(small, model__sources=outside))
    # So it is with cubes that come by other keys.
    other = {
        **{k: v for k, v in config["model"].items() if k != "galdiff"},
        "diffuse": [str(tmp_path / "small.fits")],
    }
    with pytest.raises(ConfigError, match="diffuse covers 225 of 400 pixels"):
        ROI.from_config(config | {"model": other})
    # A cube of one source may end within the region.
    cube = Map.read(tmp_path / "small.fits")
    cube.data[:, [0, -1], :] = cube.data[..., [0, -1]] = 0
    cube.write(tmp_path / "small.fits", overwrite=True)
    assert ROI.from_config(config | {"model": other})["diffuse"]["npred"] > 0
    toys.write_galactic(tmp_path / "small2.fits", npix=12)
    small = changed(config, model__galdiff=str(tmp_path / "small2.fits"))
    roi = ROI.from_config(changed(small, model__cut_galdiff=True))
    assert "those pixels are left out of the fit" in caplog.text
    assert roi.datasets[0].mask_fit.data.sum() == 3 * 225
    toys.write_galactic(tmp_path / "low.fits", high=8e4)
    roi = ROI.from_config(changed(config, model__galdiff=str(tmp_path / "low.fits")))
    assert "it is continued as a power law" in caplog.text
    # The toy is a power law.
    assert roi["galdiff"]["npred"] == pytest.approx(ROI.from_config(config)["galdiff"]["npred"], rel=1e-3)
    toys.write_galactic(tmp_path / "lower.fits", high=2e4)
    with pytest.raises(ConfigError, match="galdiff is given from 100 to 20000 MeV, the true energies"):
        ROI.from_config(changed(config, model__galdiff=str(tmp_path / "lower.fits")))


def test_files_that_arent_there_or_are_something_else(files):
    folder, config = files
    with pytest.raises(ConfigError, match=r"counts: no file .*count\.fits\. Did you mean 'counts\.fits'"):
        ROI.from_config(changed(config, data__counts=str(folder / "count.fits")))
    with pytest.raises(ConfigError, match="expected a counts cube of gtbin"):
        ROI.from_config(changed(config, data__counts=str(folder / "exposure.fits")))
    with pytest.raises(ConfigError, match=r"counts\.fits: expected an exposure of gtexpcube2"):
        ROI.from_config(changed(config, data__exposure=str(folder / "counts.fits")))
    with pytest.raises(ConfigError, match=r"counts\.fits: expected a cube of diffuse emission\. SkyModel"):
        ROI.from_config(changed(config, model__galdiff=str(folder / "counts.fits")))
    with pytest.raises(ConfigError, match=r"roiwidth: .*expected a width or \[width, height\] \(deg\)"):
        ROI.from_config(changed(config, binning__roiwidth="wide"))
    with pytest.raises(DataError, match="NO_SUCH_FOLDER, which is not set"):
        ROI.from_config(changed(config, data__counts="$NO_SUCH_FOLDER/counts.fits"))
    with pytest.raises(ConfigError, match=r"the centre, .* isn't on the cube"):
        ROI.from_config(changed(config, selection__glon=20.0))
    with pytest.raises(
        ConfigError, match=r"gtlike\.edisp_disable: no source 'sorce'\. Did you mean 'source'"
    ):
        ROI.from_config(changed(config, gtlike__edisp_disable=["sorce"]))


def test_an_xml_file_of_one_source_as_catalogue(files, tmp_path):
    """Of one position, too, it is told whether it is in the region."""
    _, config = files
    roi = ROI.from_config(config)
    write_gtlike_xml([roi["source"].model], tmp_path / "one.xml")
    model = {key: value for key, value in config["model"].items() if key != "sources"}
    again = ROI.from_config(config | {"model": model | {"catalogs": [str(tmp_path / "one.xml")]}})
    assert again.loglike == pytest.approx(roi.loglike, rel=1e-12)
    far = [roi["source"].model.copy(name="far")]
    far[0].spatial_model.lon_0.value = 90
    write_gtlike_xml(far, tmp_path / "far.xml")
    again = ROI.from_config(changed(config, model__catalogs=[str(tmp_path / "far.xml")]))
    assert again.models.names == roi.models.names


def test_a_region_that_ends_with_its_cube_is_told(files, caplog):
    _, config = files
    ROI.from_config(changed(config, binning__roiwidth=1.0))
    assert "the cube ends" not in caplog.text
    roi = ROI.from_config(changed(config, binning__roiwidth=[3.0, 1.0]))
    assert "the region is 2 x 1 deg, less than binning.roiwidth, 3 x 1 deg: the cube ends" in caplog.text
    assert roi.geom.data_shape[1:] == (10, 20)


def test_sources_of_several_catalogues_are_merged(caplog):
    def entry(name, **row):
        return SimpleNamespace(name=name), row

    config = read_roi_config({"model": {"assoc_xmatch_columns": ["3FGL_Name"]}})
    found = [entry("3FGL J1"), entry("3FHL J2", **{"3FGL_Name": "3FGL J2"})]
    more = [entry("4FGL J1", **{"3FGL_Name": "3FGL J1 "}), entry("3FGL J2"), entry("4FGL J3")]
    joined = _joined(found, more, config, "4FGL")
    assert [model.name for model, _ in joined] == ["3FGL J1", "3FHL J2", "4FGL J3"]
    assert "4FGL: 2 sources are left out" in caplog.text
    assert "4FGL J1 (3FGL J1), 3FGL J2 (3FGL J2)" in caplog.text
    config = read_roi_config({"model": {"merge_sources": False}})
    assert len(_joined(found, more, config, "4FGL")) == 5
