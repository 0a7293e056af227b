"""Source maps of gtsrcmaps: gtlike's model map and maximum of the likelihood."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from villard.datasets import Datasets, SourceMaps
from villard.exceptions import DataError, FileFormatError, ModelError
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling import Fit
from villard.modeling.models import LogParabolaSpectralModel
from villard.modeling.models.gtlike import gtlike_value, model_from_dict

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "fermi_catalog.json").read_text())
CRAB = REFERENCE["gtlike.crab.modelmap"]


@pytest.fixture(scope="module")
def crab(gammapy_data):
    folder = Path(gammapy_data) / "fermi-extra" / "fermitools"
    maps = SourceMaps.read(folder / "srcMaps.fits", name="crab")
    values = CRAB["expected"]
    source = model_from_dict(
        {
            "name": "Crab Pulsar",
            "ra": 83.63,
            "dec": 22.01,
            "SpectrumType": "PowerLaw",
            "Prefactor": {"value": values["Prefactor_1e-9"], "scale": 1e-9},
            "Index": values["Index"],
            "Scale": values["Scale_MeV"],
        }
    )
    (model,) = maps.sky_models([source])
    maps.dataset.models = [model]
    return maps, model, folder


def test_model_map(crab):
    maps, _, folder = crab
    with fits.open(folder / "modelMap.fits") as hdus:
        expected = np.asarray(hdus[0].data, dtype=float)
    found = maps.dataset.npred().data
    np.testing.assert_allclose(found.sum(axis=0), expected.sum(axis=0), rtol=CRAB["rtol"])
    np.testing.assert_allclose(found, expected, rtol=CRAB["rtol"])
    assert found.sum() == pytest.approx(CRAB["expected"]["modelMap_sum"], rel=1e-7)
    with fits.open(folder / "countsMap.fits") as hdus:
        np.testing.assert_array_equal(maps.counts.data, hdus[0].data)


def test_maximum_of_the_likelihood(crab):
    """The parameters that gtlike found are those of the maximum, to its tolerance."""
    maps, model, _ = crab
    at_gtlike = maps.dataset.stat_sum()
    gtlike = {name: gtlike_value(model, name) for name in ("Prefactor", "Index")}
    model.spectral_model.index.value = 2.4
    model.spectral_model.amplitude.value *= 0.5
    result = Fit().run(Datasets([maps.dataset]))
    assert result.success
    assert 0 <= at_gtlike - maps.dataset.stat_sum() < 1e-4
    for name, parameter in (("Prefactor", "amplitude"), ("Index", "index")):
        p = model.spectral_model.parameters[parameter]
        assert gtlike_value(model, name) == pytest.approx(gtlike[name], abs=5e-3 * p.error)
    model.spectral_model.index.value = -gtlike["Index"]
    model.spectral_model.amplitude.value = gtlike["Prefactor"]


def test_quadrature():
    """The prediction is gtlike's sum over the edges, for any spectrum and map."""
    rng = np.random.default_rng(5)
    axis = MapAxis.from_energy_edges([1, 3, 4, 50] * u.GeV)
    geom = WcsGeom.create(npix=(5, 4), binsz=1, axes=[axis])
    cube = rng.uniform(0, 1e10, (4, 4, 5))
    maps = SourceMaps(WcsNDMap(geom), {"A": cube, "B": cube[::-1]}, name="toy")
    spectrum = LogParabolaSpectralModel(
        amplitude="1e-9 cm-2 s-1 GeV-1", reference="3 GeV", alpha=2.3, beta=0.2
    )
    maps.dataset.models = [maps.sky_model("A", spectrum)]
    edges = axis.edges.to_value("GeV")
    flux = edges * spectrum(axis.edges).to_value("cm-2 s-1 GeV-1")
    steps = 0.5 * np.diff(np.log(edges))
    product = flux[:, None, None] * cube
    expected = steps[:, None, None] * (product[:-1] + product[1:])
    np.testing.assert_allclose(maps.dataset.npred().data, expected, rtol=1e-7)


def test_bad_input(tmp_path):
    axis = MapAxis.from_energy_bounds("1 GeV", "100 GeV", nbin=2)
    counts = WcsNDMap(WcsGeom.create(npix=4, binsz=1, axes=[axis]))
    with pytest.raises(DataError, match=r"Source map 'A': expected the shape \(3, 4, 4\), found \(2, 4, 4\)"):
        SourceMaps(counts, {"A": np.ones((2, 4, 4))})
    with pytest.raises(ModelError, match=r"No source map 'Crb'. Did you mean 'Crab'"):
        SourceMaps(counts, {"Crab": np.ones((3, 4, 4))}).spatial_model("Crb")
    fits.PrimaryHDU(np.ones((2, 4, 4)), counts.geom.wcs.to_header()).writeto(tmp_path / "a.fits")
    with pytest.raises(FileFormatError, match=r"a.fits"):
        SourceMaps.read(tmp_path / "a.fits")
