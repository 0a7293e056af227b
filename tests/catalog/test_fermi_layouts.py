"""Catalogues of which no file is at hand: tables with the published columns, filled by us."""

import json
from itertools import pairwise
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from villard.catalog import SourceCatalog2FHL, SourceCatalog4FGL, read_catalog
from villard.exceptions import DataError, FileFormatError
from villard.modeling.models import DiskSpatialModel

LAYOUTS = json.loads((Path(__file__).parents[1] / "reference" / "fermi_layouts.json").read_text())
RELEASES = {"4FGL-DR2": (10, 7), "4FGL-DR3": (12, 8), "FL16Y": (16, 8)}
PIVOT = 1500.0
#: Energy edges (MeV) of bands; the files list them by component, some repeatedly.
BANDS = [50, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5, 1e6]


def table(key, extension, rows):
    """Make an extension with all its columns; what the rows don't tell is 0 or empty."""
    columns = []
    for definition in LAYOUTS[key]["extensions"][extension].split("; "):
        name, form, unit = (*definition.split(" ", 2), None)[:3]
        empty = "" if form.endswith("A") else np.zeros(int(form[:-1] or 1)).squeeze()
        values = np.array([np.broadcast_to(row.get(name, empty), np.shape(empty)) for row in rows])
        columns.append(fits.Column(name, form, unit, array=values))
    missing = set().union(*rows) - {column.name for column in columns}
    assert not missing
    return fits.BinTableHDU.from_columns(columns, name=extension)


def rows_of(key):
    """A power law, a log-parabola and a pulsar; the first is a disk."""
    old = key == "4FGL-DR2"
    shape = (
        {"PLEC_Index": 1.4, "PLEC_Expfactor": 0.004} if old else {"PLEC_IndexS": 1.9, "PLEC_ExpfactorS": 0.6}
    )
    all_shapes = {
        **{"PL_Flux_Density": 1e-13, "Unc_PL_Flux_Density": 1e-14, "PL_Index": 2.3, "Unc_PL_Index": 0.1},
        **{"LP_Flux_Density": 2e-13, "LP_Index": 2.1, "LP_beta": 0.15, "Unc_LP_beta": 0.03},
        **{"PLEC_Flux_Density": 3e-13, "PLEC_Exp_Index": 2 / 3, **shape},
    }
    years, bands = RELEASES[key]
    series = {
        "Flux_History": np.arange(1, years + 1) * 1e-9,
        "Unc_Flux_History": np.tile([-1e-10, 2e-10], years),
        "Flux_Band": np.full(bands, 1e-9),
        "Unc_Flux_Band": np.tile([-1e-10, 1e-10], bands),
        "Sqrt_TS_Band": np.full(bands, 10.0),
        "nuFnu_Band": np.full(bands, 1e-12),
    }
    prefix = "FL16Y" if key == "FL16Y" else "4FGL"
    names = [f"{prefix} J0000.{i}+0100{end}" for i, end in enumerate(["e", "", ""])]
    kinds = ["PowerLaw", "LogParabola", "PLSuperExpCutoff"]
    return [
        {
            **{
                "Source_Name": name,
                "SpectrumType": kind,
                "RAJ2000": 0.1 * i,
                "DEJ2000": 1.0,
                "Pivot_Energy": PIVOT,
            },
            **{"Conf_95_SemiMajor": 0.05, "Conf_95_SemiMinor": 0.03, "Conf_95_PosAng": 20.0},
            **{"Extended_Source_Name": "Shell" if i == 0 else "", "ASSOC1": f"Star {i}"},
            **all_shapes,
            **series,
        }
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    ]


def write(path, key, rows):
    years, bands = RELEASES[key]
    extended = {"Source_Name": "Shell", "Model_Form": "Disk", "RAJ2000": 0.3, "DEJ2000": 1.1}
    extended |= {"Model_SemiMajor": 0.7, "Model_SemiMinor": 0.7, "Spatial_Function": "RadialDisk"}
    edges = [*BANDS[:bands], 1e6]
    bounds = [{"LowerEnergy": low, "UpperEnergy": high} for low, high in pairwise(edges) for _ in range(2)]
    start = [{"Hist_Start": 239557417.0 + 31557600.0 * i} for i in range(years + 1)]
    parts = {
        "LAT_Point_Source_Catalog": rows,
        "ExtendedSources": [extended],
        "EnergyBounds": bounds,
        "Hist_Start": start,
    }
    hdus = [fits.PrimaryHDU(), *(table(key, name, part) for name, part in parts.items())]
    fits.HDUList(hdus).writeto(path)


@pytest.mark.parametrize("key", RELEASES)
def test_releases_of_4fgl(key, tmp_path, monkeypatch):
    folder = tmp_path / "catalogs" / "fermi"
    folder.mkdir(parents=True)
    write(folder / LAYOUTS[key]["file"], key, rows_of(key))
    monkeypatch.setenv("GAMMAPY_DATA", str(tmp_path))
    catalog = read_catalog(key)
    assert type(catalog) is type(read_catalog(folder / LAYOUTS[key]["file"])) is SourceCatalog4FGL
    energy = np.array([300.0, PIVOT, 2e4])
    x = energy / PIVOT
    found = [source.spectral_model()(energy * u.MeV).to_value("cm-2 s-1 MeV-1") for source in catalog]
    np.testing.assert_allclose(found[0], 1e-13 * x**-2.3, rtol=1e-6)
    np.testing.assert_allclose(found[1], 2e-13 * x ** -(2.1 + 0.15 * np.log(x)), rtol=1e-6)
    b = 2 / 3
    if key == "4FGL-DR2":
        expected = x**-1.4 * np.exp(0.004 * (PIVOT**b - energy**b))
    else:
        expected = x ** -(1.9 - 0.6 / b) * np.exp(0.6 / b**2 * (1 - x**b))
    np.testing.assert_allclose(found[2], 3e-13 * expected, rtol=1e-5)
    model = catalog["star 0"].sky_model()
    assert isinstance(model.spatial_model, DiskSpatialModel)
    assert model.spatial_model.r_0.quantity.to_value("deg") == pytest.approx(0.7)
    assert model.spectral_model.index.error == pytest.approx(0.1)
    assert catalog[1].sky_model().spatial_model.lat_0.error > 0
    years, bands = RELEASES[key]
    assert len(catalog[0].flux_points_table) == bands
    assert len(catalog[0].lightcurve("1-year")) == years
    with pytest.raises(DataError, match="no light curve of '2-month'"):
        catalog[0].lightcurve("2-month")


@pytest.mark.parametrize("name", ["gll_psch_v08.fit", "gll_psch_v09.fit"])
def test_2fhl(name, tmp_path, monkeypatch):
    """Spectra by integral flux; extended sources have the catalogue's own names."""
    folder = tmp_path / "catalogs" / "fermi"
    folder.mkdir(parents=True)
    common = {
        "Pos_err_68": 0.0302,
        "Flux50": 1e-11,
        "Unc_Flux50": 2e-12,
        "Spectral_Index": 2.8,
        "Unc_Spectral_Index": 0.4,
    }
    for band, flux in (("50_171GeV", 7e-12), ("171_585GeV", 2e-12), ("585_2000GeV", 3e-13)):
        common |= {f"Flux{band}": flux, f"Unc_Flux{band}": [-1e-12, 1e-12], f"Sqrt_TS{band}": 5.0}
    rows = [
        common | {"Source_Name": "2FHL J0001.0+0100", "RAJ2000": 0.25, "DEJ2000": 1.0, "ASSOC": "Star"},
        common | {"Source_Name": "2FHL J0002.0+0200e", "RAJ2000": 0.5, "DEJ2000": 2.0},
    ]
    shape = {"Source_Name": "2FHL J0002.0+0200e", "Model_Form": "Disk", "RAJ2000": 0.5, "DEJ2000": 2.0}
    shape |= {"Model_SemiMajor": 1.27, "Model_SemiMinor": 1.27}
    parts = {"2FHL Source Catalog": rows, "Extended Sources": [shape]}
    image = fits.PrimaryHDU(np.zeros((2, 2)))
    fits.HDUList([image, *(table("2FHL", *part) for part in parts.items())]).writeto(folder / name)
    monkeypatch.setenv("GAMMAPY_DATA", str(tmp_path))
    catalog = read_catalog("2FHL")
    assert type(catalog) is type(read_catalog(folder / name)) is SourceCatalog2FHL
    spectrum = catalog["star"].spectral_model()
    flux = spectrum.integral(50 * u.GeV, 2 * u.TeV).to_value("cm-2 s-1")
    assert flux == pytest.approx(1e-11, rel=1e-6)
    assert spectrum.spectral_index(100 * u.GeV) == pytest.approx(2.8, rel=1e-6)
    assert spectrum.amplitude.error == pytest.approx(2e-12)
    # 68 % of a Gaussian of two dimensions are within 1.51 sigma.
    assert catalog[0].spatial_model().lat_0.error == pytest.approx(0.02, rel=1e-3)
    assert [source.is_pointlike for source in catalog] == [True, False]
    assert catalog[1].sky_model().spatial_model.r_0.quantity.to_value("deg") == pytest.approx(1.27)
    points = catalog[0].flux_points_table
    np.testing.assert_allclose(points["flux"].quantity.to_value("cm-2 s-1"), [7e-12, 2e-12, 3e-13], rtol=1e-6)


def test_2fgl_is_not_taken_for_another_catalogue(tmp_path):
    """It has the columns of 3FHL but for the error of the index of power laws."""
    names = ["Pivot_Energy", "Flux_Density", "Spectral_Index", "PowerLaw_Index", "beta", "RAJ2000", "DEJ2000"]
    columns = [fits.Column("Source_Name", "18A", array=["2FGL J0000.9-0748"])]
    columns += [fits.Column("SpectrumType", "16A", array=["PowerLaw"])]
    columns += [fits.Column(name, "E", array=[1.0]) for name in names]
    extension = fits.BinTableHDU.from_columns(columns, name="LAT_Point_Source_Catalog")
    fits.HDUList([fits.PrimaryHDU(), extension]).writeto(tmp_path / "gll_psc_v08.fit")
    with pytest.raises(FileFormatError, match="its layout isn't that of a known catalogue"):
        read_catalog(tmp_path / "gll_psc_v08.fit")
