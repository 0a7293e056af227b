"""Models of random sources of all catalogues beside Gammapy's."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.catalog import (
    SourceCatalog1LHAASO,
    SourceCatalog2HWC,
    SourceCatalog3HWC,
    SourceCatalogGammaCat,
    SourceCatalogHGPS,
    read_catalog,
)

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "catalogs_gammapy.json").read_text())
READERS = {
    "hgps": SourceCatalogHGPS,
    "gammacat": SourceCatalogGammaCat,
    "2hwc": SourceCatalog2HWC,
    "3hwc": SourceCatalog3HWC,
    "lhaaso": SourceCatalog1LHAASO,
    "3fhl": lambda: read_catalog("3FHL"),
    "3fgl": lambda: read_catalog("3FGL"),
    "4fgl": lambda: read_catalog("4FGL"),
    "dr4": lambda: read_catalog("4FGL-DR4"),
}
ENERGY = np.geomspace(0.01, 30, 4) * u.TeV
#: Sizes of Fermi's Gaussians are radii of 68 % containment, which Gammapy takes for sigma.
R68 = 1.5095921854516636


@pytest.fixture(scope="module")
def catalogs(gammapy_data):
    return {name: reader() for name, reader in READERS.items()}


@pytest.mark.parametrize("name", READERS)
def test_models(catalogs, name):
    for entry in REFERENCE["catalogs"][name]:
        kwargs = {} if entry["which"] is None else {"which": entry["which"]}
        model = catalogs[name][entry["name"]].sky_model(**kwargs)
        assert model.spectral_model.tag[0] == entry["spectral"]
        with np.errstate(under="ignore"):
            flux = model.spectral_model(ENERGY).to_value("cm-2 s-1 TeV-1")
        np.testing.assert_allclose(flux, entry["flux"], rtol=2e-5, atol=1e-250)
        if name == "2hwc" and entry["which"] == "point" and model.spatial_model.tag[0] == "DiskSpatialModel":
            # The flux is that of a disk; Gammapy makes a point of it.
            continue
        if entry["spatial"] is None:
            assert model.spatial_model is None
            continue
        assert model.spatial_model.tag[0] == entry["spatial"]
        _check_shape(model.spatial_model, entry["shape"], name)


def _check_shape(model, shape, name):
    if not shape or (name == "gammacat" and model.tag[1] == "gauss" and model.e.value > 0):
        # Gammapy leaves the second width of gamma-cat's Gaussians out.
        return
    for key, value in shape.items():
        found = model.parameters[key].quantity
        found = found.to_value("deg") if found.unit.is_equivalent("deg") else found.value
        if key == "sigma" and name in ("3fhl", "3fgl", "4fgl", "dr4"):
            value = value / R68
        if key == "phi":
            # An axis has no direction.
            found, value = found % 180, value % 180
        assert found == pytest.approx(value, abs=2e-6)


def test_components_of_the_hess_survey(catalogs):
    survey = catalogs["hgps"]
    for name, expected in REFERENCE["hgps_components"].items():
        source = survey[name]
        models = source.components_models()
        assert models.names == [entry["name"] for entry in expected]
        for model, entry in zip(models, expected, strict=True):
            flux = model.spectral_model(ENERGY).to_value("cm-2 s-1 TeV-1")
            np.testing.assert_allclose(flux, entry["flux"], rtol=1e-5)
            assert model.spatial_model.sigma.value == pytest.approx(entry["sigma"], rel=1e-6)
        # As one model it is the sum of the components, as bright in all directions.
        merged = source.sky_model()
        direction = models[0].position
        energy = 1 * u.TeV
        summed = sum(m.evaluate(direction.l, direction.b, energy) for m in models)
        one = merged.evaluate(direction.l, direction.b, energy)
        assert one.to_value(summed.unit) == pytest.approx(summed.value, rel=0.015)
        assert merged.spatial_model.integrate_geom(merged.spatial_model.map.geom).data.sum() == pytest.approx(
            1, rel=2e-3
        )


def test_models_of_the_whole_hess_survey(catalogs):
    for status in ("independent", "linked"):
        models = catalogs["hgps"].to_models(components_status=status)
        assert len(models) == REFERENCE["hgps_numbers"][status]
    assert catalogs["hgps"][:4].to_models(components_status="merged").names == catalogs["hgps"].names[:4]
    linked = catalogs["hgps"].to_models(components_status="linked")
    index = [linked[f"HGPSC 00{i}"].spectral_model.index for i in (1, 2, 3)]
    assert index[0] is index[1] is index[2]


def test_large_scale_emission(catalogs):
    expected = REFERENCE["hgps_large_scale"]
    component = catalogs["hgps"].large_scale_component
    position = SkyCoord(expected["glon"], expected["glat"], unit="deg", frame="galactic")
    np.testing.assert_allclose(component.evaluate(position).value, expected["brightness"], rtol=1e-6)
    np.testing.assert_allclose(component.peak_brightness(position.l).value, expected["peak"], rtol=1e-6)
    np.testing.assert_allclose(component.peak_latitude(position.l).value, expected["latitude"], rtol=1e-6)
    np.testing.assert_allclose(component.width(position.l).value, expected["width"], rtol=1e-6)


def test_flux_points(catalogs):
    for name, expected in REFERENCE["flux_points"].items():
        source = catalogs["dr4"][name]
        table = source.flux_points_table
        for column, values in expected.items():
            np.testing.assert_allclose(table[column].value, np.array(values, dtype=float), rtol=1e-6)
        points = source.flux_points
        np.testing.assert_allclose(points.quantity("flux").to_value("cm-2 s-1"), expected["flux"], rtol=1e-6)
    assert len(catalogs["3fhl"]["3FHL J0534.5+2201"].flux_points_table) == 5
    assert len(catalogs["3fgl"]["3FGL J0534.5+2201i"].flux_points_table) == 5
    assert np.sum(catalogs["hgps"]["HESS J1825-137"].flux_points.quantity("dnde").value > 0) == 6
    crab = catalogs["gammacat"]["Crab nebula"]
    assert crab.flux_points.quantity("dnde")[1].to_value("cm-2 s-1 TeV-1") == pytest.approx(7.27e-11)


def test_light_curves(catalogs):
    for name, expected in REFERENCE["light_curve"].items():
        table = catalogs["dr4"][name].lightcurve()
        for column, values in expected.items():
            found = np.asarray(table[column][: len(values)], dtype=float)
            np.testing.assert_allclose(found, values, rtol=1e-6)
    assert len(catalogs["4fgl"][0].lightcurve("2-month")) == 48
    with pytest.raises(ValueError, match="no light curve of '2-month'"):
        catalogs["dr4"][0].lightcurve("2-month")
    with pytest.raises(ValueError, match="no light curve of '1-year', expected one of: 1-month"):
        catalogs["3fgl"][0].lightcurve()


def test_lhaaso_of_two_detectors(catalogs):
    """Below 25 TeV the cube is what WCDA has measured, above what KM2A has."""
    source = catalogs["lhaaso"]["1LHAASO J0007+7303u"]
    assert source.detectors == ["WCDA", "KM2A"]
    model = source.sky_model()
    cube = model.spatial_model.map
    area = cube.geom.to_image().solid_angle().value
    for energy, detector in ((1, "WCDA"), (20, "WCDA"), (30, "KM2A"), (500, "KM2A")):
        index = int(np.argmin(np.abs(cube.geom.axes[0].center.value / energy - 1)))
        exact = source.spectral_model(detector)(cube.geom.axes[0].center[index])
        assert np.sum(cube.data[index] * area) == pytest.approx(exact.to_value("cm-2 s-1 TeV-1"), rel=0.02)


def test_sources_without_spectrum(catalogs, caplog):
    models = catalogs["gammacat"].to_models()
    assert len(models) == 74
    assert "88 sources are left out" in caplog.text
    assert "Westerlund 1: the catalogue has no width" in caplog.text
    with pytest.raises(ValueError, match="3HWC J0659"):
        catalogs["3hwc"].to_models(incomplete="error")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("gammacat", "gammacat/gammacat.fits.gz"),
        ("hgps", "hgps_catalog_v1.fits.gz"),
        ("2hwc", "2HWC.ecsv"),
        ("3hwc", "3HWC.ecsv"),
        ("lhaaso", "1LHAASO_catalog.fits"),
        ("3fgl", "fermi/gll_psc_v16.fit.gz"),
        ("dr4", "fermi/gll_psc_v35.fit"),
        ("3fhl", "fermi/gll_psch_v13.fit.gz"),
    ],
)
def test_files_are_recognised(catalogs, gammapy_data, name, file):
    assert type(read_catalog(Path(gammapy_data) / "catalogs" / file)) is type(catalogs[name])


def test_unknown_layout(tmp_path, gammapy_data):
    from astropy.table import Table

    Table({"NAME": ["a"], "FLUX": [1.0]}).write(tmp_path / "other.fits")
    with pytest.raises(
        ValueError, match=r"other.fits: its layout isn't that of a known catalogue .*NAME, FLUX"
    ):
        read_catalog(tmp_path / "other.fits")
    (tmp_path / "text.fits").write_text("no FITS")
    with pytest.raises(ValueError, match=r"text.fits: not a FITS file"):
        read_catalog(tmp_path / "text.fits")
    extended = Path(gammapy_data) / "catalogs/fermi/Extended_14years/LAT_extended_sources_14years.fits"
    with pytest.raises(ValueError, match="known catalogue"):
        read_catalog(extended)
