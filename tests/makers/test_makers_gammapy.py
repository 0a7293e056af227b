"""Reduction of public observations beside Gammapy's."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.data import DataStore
from villard.datasets import Datasets, MapDataset, SpectrumDataset, SpectrumDatasetOnOff
from villard.makers import (
    FoVBackgroundMaker,
    MapDatasetMaker,
    ReflectedRegionsBackgroundMaker,
    SafeMaskMaker,
    SpectrumDatasetMaker,
    WobbleRegionsFinder,
)
from villard.maps import MapAxis, RegionGeom, WcsGeom, WcsNDMap

REFERENCE = json.loads((Path(__file__).parents[1] / "reference/makers_gammapy.json").read_text())
CRAB = SkyCoord(83.6333, 22.0144, unit="deg")
ENERGY = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=12)
TRUE = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=24, name="energy_true")


@pytest.fixture(scope="module")
def mask():
    image = WcsGeom.create(skydir=CRAB, binsz=0.02, width=5, proj="TAN")
    hole = SkyCoord(84.2, 21.6, unit="deg")
    return WcsNDMap(image, data=(image.separation(CRAB).deg > 0.3) & (image.separation(hole).deg > 0.1))


def test_spectrum(gammapy_data, mask):
    observation = DataStore.from_dir(gammapy_data / "hess-dl3-dr1").obs(23523)
    geom = RegionGeom.create("icrs;circle(83.6333,22.0144,0.11)", axes=[ENERGY])
    dataset = SpectrumDataset.create(geom, energy_axis_true=TRUE, name="run")
    dataset = SpectrumDatasetMaker(containment_correction=True).run(dataset, observation)
    dataset = ReflectedRegionsBackgroundMaker(exclusion_mask=mask).run(dataset, observation)
    np.testing.assert_array_equal(dataset.counts.data.ravel(), REFERENCE["23523.counts"])
    np.testing.assert_array_equal(dataset.acceptance_off.data.ravel(), REFERENCE["23523.acc_off"])
    # Its containment is read off a table of radii: ours is integrated.
    exposure = dataset.exposure.quantity.to_value("m2 s").ravel()
    np.testing.assert_allclose(exposure, REFERENCE["23523.exposure"], rtol=0.002)
    matrix = dataset.edisp.pdf_matrix[10:14].ravel()
    np.testing.assert_allclose(matrix, REFERENCE["23523.edisp"], atol=1e-6)
    # Its regions are made of pixels, and so turned by other angles.
    assert dataset.counts_off.data.sum() == pytest.approx(REFERENCE["23523.off.sum"], abs=30)
    masks = {key: value for key, value in REFERENCE.items() if key.startswith("23523.safe")}
    for method in ("aeff-max", "aeff-default", "edisp-bias"):
        dataset.mask_safe.data[...] = True
        safe = SafeMaskMaker([method]).run(dataset, observation).mask_safe
        np.testing.assert_array_equal(safe.data.ravel(), masks[f"23523.safe.{method}.{{}}"])


def test_map(gammapy_data, mask):
    observation = DataStore.from_dir(gammapy_data / "hess-dl3-dr1").obs(23523)
    geom = WcsGeom.create(skydir=CRAB, binsz=0.1, width=4, proj="TAN", axes=[ENERGY])
    dataset = MapDatasetMaker().run(MapDataset.create(geom, energy_axis_true=TRUE, name="m"), observation)
    np.testing.assert_array_equal(dataset.counts.data.sum(axis=(1, 2)), REFERENCE["map.counts"])
    exposure = dataset.exposure.quantity.to_value("m2 s")[::6, ::8, ::8].ravel()[:60]
    np.testing.assert_allclose(exposure, REFERENCE["map.exp"], rtol=1e-6)
    radius = dataset.psf.containment_radius(0.68, TRUE.center[5:20:4], position=CRAB)
    # Its map has the values at the middles of bins of 0.01 deg, ours what is in the bins of the file.
    np.testing.assert_allclose(radius.to_value("deg"), REFERENCE["map.psf"], rtol=0.03)
    true = observation.psf.containment_radius(0.68, TRUE.center[5:20:4], 0.5 * u.deg)
    np.testing.assert_allclose(radius.to_value("deg"), true.to_value("deg"), rtol=0.01)
    # Ours integrates the table's power laws exactly, Gammapy's from edge to edge of the bins; in the first
    # bins, at the threshold, that matters.
    background = dataset.background.data.sum(axis=(1, 2))
    np.testing.assert_allclose(background[2:], REFERENCE["map.bkg"][2:], rtol=0.05)
    safe = SafeMaskMaker(["offset-max", "aeff-default"], offset_max=1.8 * u.deg).run(dataset, observation)
    np.testing.assert_array_equal(safe.mask_safe.data.sum(axis=(1, 2)), REFERENCE["map.safe"])
    scaled = FoVBackgroundMaker(exclusion_mask=mask).run(safe)
    norm = scaled.models[0].parameters["norm"].value
    assert norm == pytest.approx(REFERENCE["fov.scale"][0], rel=0.01)


def test_table_of_radii(gammapy_data):
    store = DataStore.from_dir(gammapy_data / "magic/rad_max/data")
    energy = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=8)
    for name in ("5029747", "5029748"):
        observation = store.obs(name, required_irf="point-like")
        dataset = SpectrumDataset.create(RegionGeom.create(CRAB, axes=[energy]), energy_axis_true=TRUE)
        dataset = SpectrumDatasetMaker().run(dataset, observation)
        finder = WobbleRegionsFinder(n_off_regions=3)
        dataset = ReflectedRegionsBackgroundMaker(finder).run(dataset, observation)
        np.testing.assert_array_equal(dataset.counts.data.ravel(), REFERENCE[f"{name}.counts"])
        np.testing.assert_array_equal(dataset.counts_off.data.ravel(), REFERENCE[f"{name}.off"])
    exposure = REFERENCE["5029747.exposure"]
    first = SpectrumDataset.create(RegionGeom.create(CRAB, axes=[energy]), energy_axis_true=TRUE)
    first = SpectrumDatasetMaker(["exposure"]).run(first, store.obs(5029747))
    np.testing.assert_allclose(first.exposure.quantity.to_value("m2 s").ravel(), exposure, rtol=1e-6)


def test_published_spectra_of_hess(gammapy_data):
    """The same four runs, reduced by others for the joint-crab paper, with other off regions."""
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    for name in ("23523", "23559"):
        folder = gammapy_data / "joint-crab/spectra/hess"
        published = SpectrumDatasetOnOff.read(folder / f"pha_obs{name}.fits")
        axis = published.counts.geom.axes["energy"]
        geom = RegionGeom.create("icrs;circle(83.63333333, 22.01444444, 0.11)", axes=[axis])
        true = published.exposure.geom.axes["energy_true"]
        dataset = SpectrumDataset.create(geom, energy_axis_true=true)
        maker = SpectrumDatasetMaker(["counts", "exposure"], containment_correction=True)
        dataset = maker.run(dataset, store.obs(name))
        energy = axis.center.to_value("TeV")
        used = (energy > 0.7) & (energy < 30)
        ours, theirs = (d.counts.data.ravel()[used] for d in (dataset, published))
        assert abs(ours.sum() - theirs.sum()) <= 0.03 * theirs.sum()
        assert np.max(np.abs(ours - theirs)) <= 3
        ours, theirs = (d.exposure.quantity.to_value("m2 s").ravel()[used] for d in (dataset, published))
        np.testing.assert_allclose(ours, theirs, rtol=0.05)


def test_reduced_cube_of_cta(gammapy_data):
    """Three runs of the first CTA data challenge, reduced with Gammapy 2.1."""
    reduced = MapDataset.read(gammapy_data / "cta-1dc-gc/cta-1dc-gc-small.fits.gz", name="reduced")
    store = DataStore.from_dir(gammapy_data / "cta-1dc/index/gps")
    # A corner of it, to be quick.
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    small = reduced.cutout(center, 2 * u.deg, name="small")
    made = []
    for name in (110380, 111140, 111159):
        empty = MapDataset.create(
            small.counts.geom, energy_axis_true=small.exposure.geom.axes["energy_true"], name=str(name)
        )
        made.append(MapDatasetMaker(["counts", "exposure", "background"]).run(empty, store.obs(name)))
    assert Datasets(made).names == ["110380", "111140", "111159"]
    counts = sum(d.counts.data for d in made)
    safe = small.mask_safe.data
    difference = np.abs(counts - small.counts.data)[safe].sum()
    assert difference <= 0.01 * counts[safe].sum()
    exposure = sum(d.exposure.quantity.to_value("m2 s") for d in made)
    ratio = exposure / small.exposure.quantity.to_value("m2 s")
    np.testing.assert_allclose(ratio[2:-2], 1, rtol=2e-3)
    background = sum(d.background.data for d in made)
    shares = background.sum(axis=(1, 2)) / small.background.data.sum(axis=(1, 2))
    np.testing.assert_allclose(shares, 1, atol=0.06)
