"""Reduction of simulated observations, whose results are known."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from villard.data import EventList, Observation
from villard.datasets import MapDataset, SpectrumDataset
from villard.exceptions import ConfigError, DataError
from villard.irf import (
    PSF3D,
    Background2D,
    EffectiveAreaTable2D,
    EnergyDispersion2D,
    RadMax2D,
)
from villard.makers import (
    DatasetsMaker,
    FoVBackgroundMaker,
    MapDatasetMaker,
    ReflectedRegionsBackgroundMaker,
    ReflectedRegionsFinder,
    RingBackgroundMaker,
    SafeMaskMaker,
    SpectrumDatasetMaker,
    WobbleRegionsFinder,
)
from villard.maps import MapAxis, RegionGeom, WcsGeom, WcsNDMap

POINTING = SkyCoord(83.63, 22.51, unit="deg")
SOURCE = SkyCoord(83.63, 22.01, unit="deg")
ENERGY = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
TRUE = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=8, name="energy_true")
OFFSET = MapAxis.from_nodes([0, 3] * u.deg, name="offset")


def make_irfs():
    fine = MapAxis.from_energy_bounds("0.3 TeV", "40 TeV", nbin=12, name="energy_true")
    area = np.outer(np.geomspace(1e4, 1e6, 12), [1, 0.4]) * u.m**2
    migra = MapAxis.from_bounds(0.2, 5, nbin=96, name="migra")
    edges = np.linspace(0, 0.6, 61)
    rad = MapAxis.from_edges(edges * u.deg, name="rad")
    shape = np.exp(-0.5 * (rad.center.value / 0.08) ** 2) / (2 * np.pi * np.radians(0.08) ** 2)
    reco = MapAxis.from_energy_bounds("0.3 TeV", "40 TeV", nbin=12)
    rate = np.outer(reco.center.value**-2.7, [1.0, 1.0]) * u.Unit("s-1 TeV-1 sr-1")
    return {
        "aeff": EffectiveAreaTable2D([fine, OFFSET], area, meta={"LO_THRES": 1.5, "HI_THRES": 9.0}),
        "edisp": EnergyDispersion2D.from_gauss(fine, migra, OFFSET, 0.15, np.linspace(0.5, 0, 12)),
        "psf": PSF3D([fine, OFFSET, rad], np.broadcast_to(shape, (12, 2, 60)) * u.Unit("sr-1")),
        "bkg": Background2D([reco, OFFSET], rate),
    }


def make_observation(n=4000, obs_id=1, seed=1, **irfs):
    """Events that are uniform within 2.5 deg, and 100 more in the source."""
    rng = np.random.default_rng(seed)
    angle, distance = rng.uniform(0, 2 * np.pi, n), 2.5 * np.sqrt(rng.random(n))
    sky = POINTING.directional_offset_by(angle * u.rad, distance * u.deg)
    ra = np.append(sky.ra.deg, SOURCE.ra.deg + 0.02 * rng.normal(size=100))
    dec = np.append(sky.dec.deg, SOURCE.dec.deg + 0.02 * rng.normal(size=100))
    table = Table({"ENERGY": rng.uniform(1, 10, n + 100) * u.TeV, "RA": ra * u.deg, "DEC": dec * u.deg})
    events = EventList(table)
    return Observation.create(POINTING, 1000 * u.s, make_irfs() | irfs, obs_id, events=events)


@pytest.fixture(scope="module")
def observation():
    return make_observation()


@pytest.fixture(scope="module")
def geom():
    return WcsGeom.create(skydir=POINTING, binsz=0.1, width=4, proj="TAN", axes=[ENERGY])


def spectrum(region="icrs;circle(83.63, 22.01, 0.15)"):
    return SpectrumDataset.create(RegionGeom.create(region, axes=[ENERGY]), energy_axis_true=TRUE, name="1")


def test_spectrum(observation):
    dataset = SpectrumDatasetMaker(containment_correction=True).run(spectrum(), observation)
    inside = observation.events.radec.separation(SOURCE).deg <= 0.15
    assert dataset.counts.data.sum() == inside.sum()
    area = observation.aeff.evaluate(energy_true=TRUE.center, offset=0.5 * u.deg)
    share = 1 - np.exp(-0.5 * (0.15 / 0.08) ** 2)
    exposure = dataset.exposure.quantity.ravel()
    np.testing.assert_allclose((exposure / (area * 1000 * u.s)).to_value(""), share, rtol=2e-3)
    assert dataset.background is None
    assert dataset.livetime.value == 1000
    assert dataset.meta_table["OBS_ID"][0] == "1"


def test_spectrum_averaged_over_the_region(observation):
    wide = "icrs;circle(83.63, 22.01, 0.45)"
    maker = SpectrumDatasetMaker(["exposure", "edisp", "background"], use_region_center=False)
    dataset = maker.run(spectrum(wide), observation)
    # The area falls linearly with the offset, by 20 % per degree.
    at_center = observation.aeff.evaluate(energy_true=TRUE.center, offset=0.5 * u.deg) * 1000 * u.s
    ratio = (dataset.exposure.quantity.ravel() / at_center).to_value("")
    distance = observation.aeff.evaluate(energy_true=TRUE.center, offset=0.556 * u.deg)
    expected = (distance * 1000 * u.s / at_center).to_value("")
    np.testing.assert_allclose(ratio, expected, rtol=5e-3)
    solid_angle = 2 * np.pi * (1 - np.cos(np.radians(0.45)))
    edges = ENERGY.edges.value
    rate = (edges[:-1] ** -1.7 - edges[1:] ** -1.7) / 1.7
    np.testing.assert_allclose(dataset.background.data.ravel(), 1000 * solid_angle * rate, rtol=1e-3)


def test_reflected_regions(observation):
    dataset = SpectrumDatasetMaker().run(spectrum(), observation)
    result = ReflectedRegionsBackgroundMaker().run(dataset, observation)
    regions = result.counts_off.geom.region.parts
    assert result.acceptance_off.data.ravel()[0] == len(regions)
    centers = SkyCoord([region.center for region in regions])
    np.testing.assert_allclose(centers.separation(POINTING).deg, 0.5, atol=1e-9)
    # None overlaps another, nor the region of interest.
    apart = centers[:, np.newaxis].separation(centers[np.newaxis]).deg + np.eye(len(regions))
    assert apart.min() >= 0.3 - 1e-6
    assert centers.separation(SOURCE).deg.min() > 0.3
    inside = sum(region.contains(observation.events.radec).sum() for region in regions)
    assert result.counts_off.data.sum() == inside
    excess = result.excess.data.sum()
    assert abs(excess - 100) < 4 * np.sqrt(130)


def test_exclusion_moves_regions(observation):
    image = WcsGeom.create(skydir=POINTING, binsz=0.02, width=3, proj="TAN")
    hole = SkyCoord(83.63, 23.01, unit="deg")
    mask = WcsNDMap(image, data=image.separation(hole).deg > 0.2)
    finder = ReflectedRegionsFinder(min_distance_input="0.2 rad")
    regions = finder.run("icrs;circle(83.63, 22.01, 0.15)", POINTING, mask)
    assert all(region.center.separation(hole).deg > 0.34 for region in regions)
    box = finder.run("icrs;box(83.63, 22.01, 0.3, 0.1, 0)", POINTING)
    # The long side stays tangential.
    for region in box:
        to_pivot = region.center.position_angle(POINTING).deg
        assert abs((region.angle + to_pivot + 90) % 180 - 90) < 1e-6
    wobble = WobbleRegionsFinder(3).run("icrs;circle(83.63, 22.01, 0.15)", POINTING, mask)
    assert len(wobble) == 2
    with pytest.raises(DataError, match="would overlap, there is room for 9"):
        WobbleRegionsFinder(12).run("icrs;circle(83.63, 22.01, 0.15)", POINTING)
    with pytest.raises(DataError, match="contains the pointing"):
        finder.run("icrs;circle(83.63, 22.01, 0.6)", POINTING)
    everywhere = WcsNDMap(image, data=np.zeros(image.data_shape, dtype=bool))
    with pytest.raises(DataError, match="no room for an off region"):
        ReflectedRegionsBackgroundMaker(exclusion_mask=everywhere).run(
            SpectrumDatasetMaker().run(spectrum(), observation), observation
        )


def test_table_of_radii():
    energy = MapAxis.from_energy_edges([0.5, 3, 20] * u.TeV)
    table = RadMax2D([energy, OFFSET], [[0.2, 0.2], [0.1, 0.1]] * u.deg)
    observation = make_observation(rad_max=table)
    maker = SpectrumDatasetMaker()
    dataset = maker.run(spectrum(SOURCE), observation)
    events = observation.events
    limit = np.where(events.energy < 3 * u.TeV, 0.2, 0.1)
    expected = (events.radec.separation(SOURCE).deg <= limit) & (events.energy < 10 * u.TeV)
    assert dataset.counts.data.sum() == expected.sum()
    finder = WobbleRegionsFinder(n_off_regions=3)
    result = ReflectedRegionsBackgroundMaker(finder).run(dataset, observation)
    assert result.acceptance_off.data.ravel().tolist() == [3] * 4
    with pytest.raises(DataError, match="expected a point as region"):
        maker.run(spectrum(), observation)
    with pytest.raises(DataError, match="expected a region with a size"):
        maker.run(spectrum(SOURCE), make_observation())
    with pytest.raises(DataError, match="includes it already"):
        SpectrumDatasetMaker(containment_correction=True).run(spectrum(SOURCE), observation)


def test_map(observation, geom):
    dataset = MapDatasetMaker().run(MapDataset.create(geom, energy_axis_true=TRUE, name="1"), observation)
    inside = geom.contains(observation.events.map_coord(geom))
    assert dataset.counts.data.sum() == inside.sum()
    area = observation.aeff.evaluate(energy_true=TRUE.center[3], offset=geom.separation(POINTING))
    expected = (area * 1000 * u.s).to_value("m2 s")
    np.testing.assert_allclose(dataset.exposure.quantity[3].to_value("m2 s"), expected)
    edges = ENERGY.edges.value
    rate = (edges[:-1] ** -1.7 - edges[1:] ** -1.7) / 1.7
    omega = geom.to_image().solid_angle().value.sum()
    np.testing.assert_allclose(dataset.background.data.sum(axis=(1, 2)), 1000 * omega * rate, rtol=1e-3)
    radius = dataset.psf.containment_radius(0.68, TRUE.center[3], position=SOURCE)
    assert radius.to_value("deg") == pytest.approx(0.08 * 1.5096, rel=0.01)
    assert dataset.edisp.get_edisp_kernel(position=SOURCE).pdf_matrix.max() > 0.5


def test_background_of_the_field_of_view(observation, geom):
    dataset = MapDatasetMaker().run(MapDataset.create(geom, energy_axis_true=TRUE, name="1"), observation)
    image = WcsGeom.create(skydir=POINTING, binsz=0.05, width=5, proj="TAN")
    mask = WcsNDMap(image, data=image.separation(SOURCE).deg > 0.3)
    scaled = FoVBackgroundMaker(exclusion_mask=mask).run(dataset.copy(name="scaled"))
    used = geom.to_image().separation(SOURCE).deg > 0.3
    norm = dataset.counts.data[:, used].sum() / dataset.background.data[:, used].sum()
    assert scaled.models[0].parameters["norm"].value == pytest.approx(norm, rel=0.01)
    fitted = FoVBackgroundMaker("fit", exclusion_mask=mask).run(dataset.copy(name="fitted"))
    parameter, other = (d.models[0].parameters["norm"] for d in (fitted, scaled))
    assert parameter.value == pytest.approx(other.value, rel=1e-4)
    assert parameter.error == pytest.approx(other.error, rel=1e-3)
    assert fitted.mask_fit is None
    ring = RingBackgroundMaker("0.4 deg", "0.3 deg", exclusion_mask=mask).run(dataset)
    kernel = RingBackgroundMaker("0.4 deg", "0.3 deg").kernel(geom)
    at = tuple(int(v) for v in np.round(geom.skydir_to_pix(SOURCE))[::-1])
    rows, columns = slice(at[0] - 7, at[0] + 8), slice(at[1] - 7, at[1] + 8)
    window = np.where(used, dataset.counts.data, 0)[:, rows, columns]
    np.testing.assert_allclose(ring.counts_off.data[:, at[0], at[1]], np.sum(window * kernel, axis=(1, 2)))
    empty = dataset.copy(name="empty")
    empty.counts.data[...] = 0
    with pytest.raises(DataError, match="nothing to scale"):
        FoVBackgroundMaker().run(empty)


def test_safe_masks(observation, geom):
    dataset = MapDatasetMaker(["counts", "background"]).run(
        MapDataset.create(geom, energy_axis_true=TRUE, name="1"), observation
    )

    def mask(methods, **options):
        return SafeMaskMaker(methods, **options).run(dataset.copy(name="x"), observation).mask_safe.data

    offset = geom.separation(POINTING)
    assert np.all(mask("offset-max", offset_max="1.2 deg") == (offset < 1.2 * u.deg))
    edges = ENERGY.edges.value
    expected = (edges[:-1] >= 1.5) & (edges[1:] <= 9)
    assert np.all(mask("aeff-default").any(axis=(1, 2)) == expected)
    # The area rises as E^0.94 between 0.3 and 40 TeV: 10 % of it at 3.6 TeV.
    limit = np.geomspace(0.3, 40, 25)[1::2]
    slope = np.log(100) / np.log(limit[-1] / limit[0])
    threshold = limit[0] * (0.1 * 1e6 / 1e4) ** (1 / slope)
    assert np.all(mask("aeff-max").any(axis=(1, 2)) == (edges[:-1] >= threshold))
    bias = np.linspace(0.5, 0, 12)
    first = np.exp(np.interp(-0.25, -bias, np.log(limit)))
    assert np.all(mask("edisp-bias", bias_percent=25).any(axis=(1, 2)) == (edges[:-1] >= first))
    assert mask("bkg-peak").all()
    assert mask("bkg-invalid").all()
    assert mask(["aeff-default", "offset-max"], offset_max="1 deg").sum() < mask("aeff-default").sum()
    with pytest.raises(ConfigError, match="unknown method 'offset'"):
        SafeMaskMaker(["offset"])


def test_several_observations(observation, geom):
    other = make_observation(obs_id=2, seed=2)
    makers = [MapDatasetMaker(), SafeMaskMaker(["offset-max"], offset_max="1.5 deg")]
    empty = MapDataset.create(geom, energy_axis_true=TRUE, name="all")
    apart = DatasetsMaker(makers, stack_datasets=False).run(empty, [observation, other])
    assert apart.names == ["1", "2"]
    stacked = DatasetsMaker(makers).run(empty, [observation, other])[0]
    total = sum(float(d.counts.data[d.mask_safe.data].sum()) for d in apart)
    assert stacked.counts.data.sum() == total
    assert stacked.livetime.value == 2000
    steps = [SpectrumDatasetMaker(), ReflectedRegionsBackgroundMaker(), SafeMaskMaker()]
    both = DatasetsMaker(steps).run(spectrum(), [observation, other])[0]
    assert both.livetime.value == 2000
    assert both.counts_off.data.sum() > 0


def test_missing_parts(geom):
    observation = Observation.create(POINTING, livetime=1 * u.s)
    with pytest.raises(DataError, match="observation 0 has no events"):
        MapDatasetMaker().run(MapDataset.create(geom, energy_axis_true=TRUE), observation)
    with pytest.raises(ConfigError, match="unknown part 'count'"):
        MapDatasetMaker(["count"])
