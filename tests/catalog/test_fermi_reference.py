"""Catalogues beside their own columns, and beside what fermipy reads from them."""

import json
import re
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.catalog import read_catalog
from villard.modeling.models.gtlike import gtlike_parameters, model_from_dict, spectrum_type

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "fermi_catalog.json").read_text())
FILES = {"4FGL_v20": "4FGL", "DR4_v35": "4FGL-DR4", "3FGL": "3FGL"}
COLUMNS = {"Flux1000": ("integral", 1 * u.GeV), "Energy_Flux100": ("energy_flux", 0.1 * u.GeV)}


@pytest.fixture(scope="module")
def catalogs(gammapy_data):
    return {name: read_catalog(name) for name in FILES.values()}


@pytest.mark.parametrize(
    ("file", "kind"), sorted({tuple(key.split(".")[1:3]) for key in REFERENCE if key.startswith("catalog.")})
)
def test_integrals_of_all_sources(catalogs, file, kind):
    """The integral of each spectrum beside the columns of the catalogue: the distribution of ratios."""
    catalog = catalogs[FILES[file]]
    rows = np.flatnonzero(catalog.table["SpectrumType"] == kind)
    ratios: dict[str, list[float]] = {column: [] for column in COLUMNS}
    for row in rows:
        source = catalog[row]
        spectrum = source.spectral_model()
        for column, (method, low) in COLUMNS.items():
            ratio = getattr(spectrum, method)(low, 100 * u.GeV) / source.data[column]
            ratios[column].append(float(ratio.to_value("")))
    for column, found in ratios.items():
        percentiles = np.percentile(found, [0, 1, 50, 99, 100])
        entry = REFERENCE.get(f"catalog.{file}.{kind}.{column}")
        if entry is not None:
            assert len(rows) == entry["expected"]["n"]
            np.testing.assert_allclose(percentiles, entry["expected"]["ratio_percentiles"], rtol=1e-5)
        # Fluxes without an error are upper limits.
        other = rows[np.abs(np.array(found) - 1) > 6e-3]
        assert np.all(catalog.table[f"Unc_{column}"][other] == 0)
        assert len(other) == (2 if (file, kind, column) == ("3FGL", "PowerLaw", "Flux1000") else 0)
        assert percentiles[2] == pytest.approx(1, abs=4e-4)
        np.testing.assert_allclose(percentiles[[1, 3]], 1, atol=2.2e-3)


def test_integrals_of_3fhl(gammapy_data):
    """With the index of the power law, not the local one, both fluxes of 3FHL come out."""
    ratios = []
    for source in read_catalog("3FHL"):
        spectrum = source.spectral_model()
        flux = spectrum.integral(10 * u.GeV, 1 * u.TeV) / source.data["Flux"]
        eflux = spectrum.energy_flux(10 * u.GeV, 1 * u.TeV) / source.data["Energy_Flux"]
        ratios.append([float(ratio.to_value("")) for ratio in (flux, eflux)])
    assert np.allclose(np.median(ratios, axis=0), 1, rtol=5e-4)
    assert np.allclose(np.percentile(ratios, [1, 99], axis=0), 1, rtol=5e-3)
    # With Spectral_Index, the slope at the pivot energy, of power laws too, they don't.
    table = read_catalog("3FHL").table
    table = table[[str(kind).strip() == "PowerLaw" for kind in table["SpectrumType"]]]
    columns = ("Pivot_Energy", "Flux_Density", "Spectral_Index", "Flux", "Energy_Flux")
    pivot, density, index, flux, eflux = (np.array(table[name], dtype=float) for name in columns)
    gev_to_erg = (1 * u.GeV).to_value("erg")
    for power, column, unit, median, largest in ((1, flux, 1, 1.0185, 1.4), (2, eflux, gev_to_erg, 1.325, 5)):
        integral = (
            density * pivot**index * (10 ** (power - index) - 1000 ** (power - index)) / (index - power)
        )
        ratio = integral * unit / column
        assert np.median(ratio) == pytest.approx(median, abs=1e-3)
        assert np.max(ratio) > largest


@pytest.mark.parametrize("key", [key for key in REFERENCE if key.startswith("roi.count.")])
def test_numbers_of_sources(catalogs, key):
    entry = REFERENCE[key]
    catalog = catalogs["4FGL-DR4" if "v35" in entry["inputs"][0] else "3FGL"]
    found = re.search(r"l=(\d+),b=(\d+),r=(\d+)", entry["description"])
    if found is None:
        center, radius = catalog["3FGL J2021.0+4031e"].position, 2
    else:
        lon, lat, radius = (float(text) for text in found.groups())
        center = SkyCoord(lon, lat, unit="deg", frame="galactic")
    assert len(catalog.select_region(center, radius=radius)) == entry["expected"]


#: Sources in maps around the Galactic Centre: width and height (deg) by catalogue.
IN_MAPS = {
    "3FHL": {(20, 10): 22, (24, 14): 30, (15, 8): 18, (8, 8): 13},
    "3FGL": {(20, 10): 63},
    "4FGL": {(20, 10): 156},
    "4FGL-DR4": {(20, 10): 240, (24, 14): 319, (15, 8): 180, (8, 8): 110},
}


@pytest.mark.parametrize("name", IN_MAPS)
def test_numbers_of_sources_in_maps(catalogs, name):
    catalog = catalogs[name] if name in catalogs else read_catalog(name)
    place = catalog.positions.galactic
    for (width, height), number in IN_MAPS[name].items():
        inside = (np.abs(place.l.wrap_at("180d").deg) < width / 2) & (np.abs(place.b.deg) < height / 2)
        assert inside.sum() == number


@pytest.mark.parametrize("key", [key for key in REFERENCE if key.startswith("roi.par.")])
def test_parameters_as_gtlike_has_them(catalogs, key):
    entry = REFERENCE[key]
    catalog = catalogs["4FGL-DR4" if "v35" in entry["inputs"][0] else "3FGL"]
    model = catalog[entry["description"].split(":")[0]].sky_model()
    expected = dict(entry["expected"])
    assert spectrum_type(model) == expected.pop("type")
    found = {p.name: p.value for p in gtlike_parameters(model)}
    assert found == pytest.approx(expected, rel=entry["rtol"])


#: Sources of the notebooks: type and parameters, energies (MeV).
SPECTRA = {
    "spec.PG1553a": (
        "LogParabola",
        {"norm": 4.825e-12, "alpha": 1.604, "beta": 0.03884, "Eb": 1491},
        100,
        3e5,
    ),
    "spec.PG1553b": (
        "LogParabola",
        {"norm": 6.08874855e-12, "alpha": 1.53238263, "beta": 0.0430001117, "Eb": 1491.38049},
        100,
        3e5,
    ),
    "spec.PSJ1705": ("PowerLaw", {"Prefactor": 1.157e-13, "Index": -1.854, "Scale": 1000}, 500, 5e5),
    "spec.SMC": ("PowerLaw", {"Prefactor": 1.354e-11, "Index": -2.459, "Scale": 665.5}, 1e3, 5e5),
}


@pytest.mark.parametrize("key", SPECTRA)
def test_fluxes_printed_by_fermitools(key):
    kind, parameters, low, high = SPECTRA[key]
    model = model_from_dict({"name": "A", "ra": 0, "dec": 0, "SpectrumType": kind, **parameters})
    expected, rtol = REFERENCE[key]["expected"], REFERENCE[key]["rtol"]
    spectrum, bounds = model.spectral_model, (low * u.MeV, high * u.MeV)
    assert spectrum.integral(*bounds).to_value("cm-2 s-1") == pytest.approx(expected["flux"], rel=rtol)
    eflux = spectrum.energy_flux(*bounds).to_value("MeV cm-2 s-1")
    assert eflux == pytest.approx(expected["eflux_MeV"], rel=rtol)
