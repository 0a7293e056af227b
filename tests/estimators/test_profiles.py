"""Profiles of maps: regions, fluxes in them, sums of images."""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.datasets import MapDataset, MapDatasetOnOff
from villard.estimators import (
    FluxProfile,
    FluxProfileEstimator,
    ImageProfileEstimator,
    make_concentric_annulus_sky_regions,
    make_orthogonal_rectangle_sky_regions,
)
from villard.exceptions import ConfigError, DataError, UnitsError
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
GEOM = WcsGeom.create(skydir=(0, 0), npix=(60, 40), binsz=0.1, frame="galactic", axes=[AXIS])


@pytest.fixture
def dataset() -> MapDataset:
    exposure = WcsNDMap(GEOM.as_energy_true(), data=np.full(GEOM.data_shape, 1e13), unit="cm2 s")
    background = WcsNDMap(GEOM, data=np.full(GEOM.data_shape, 1.0))
    counts = WcsNDMap(GEOM, data=np.full(GEOM.data_shape, 1.0))
    return MapDataset(counts=counts, background=background, exposure=exposure, name="toy")


def test_rectangles_lie_along_the_line() -> None:
    start, end = (SkyCoord(lon, lat, unit="deg", frame="galactic") for lon, lat in ((3, -1), (-2, 1.5)))
    regions = make_orthogonal_rectangle_sky_regions(start, end, None, height="1 deg", nbin=5)
    length = start.separation(end).deg
    for i, region in enumerate(regions):
        np.testing.assert_allclose(region.sizes, (length / 5, 1))
        np.testing.assert_allclose(start.separation(region.center).deg, length * (i + 0.5) / 5, rtol=1e-6)
        # Both ends lie on the axis of each box: they are inside once it is long enough.
        for far in (start, end):
            east, north = (v.deg for v in region.center.spherical_offsets_to(far))
            angle = np.radians(region.angle)
            across = np.sin(angle) * east + np.cos(angle) * north
            assert abs(across) < 5e-3
    # Together they cover the strip, without overlap.
    masks = np.stack([GEOM.to_image().region_mask([region]).data for region in regions])
    assert masks.sum(axis=0).max() == 1
    assert abs(masks.sum() * 0.01 / length - 1) < 0.04


def test_rectangles_of_gammapy() -> None:
    # Positions and angle of Gammapy 2.1.
    start, end = SkyCoord(5, 0, unit="deg", frame="galactic"), SkyCoord(-5, 1, unit="deg", frame="galactic")
    regions = make_orthogonal_rectangle_sky_regions(start, end, height="1 deg", nbin=4)
    np.testing.assert_allclose(regions[0].angle, np.degrees(0.09865618928612441), atol=0.1)
    assert abs(regions[0].lon - 3.75) < 2e-3
    assert abs(regions[0].lat - 0.125) < 2e-3
    np.testing.assert_allclose(regions[0].sizes[0], np.degrees(0.04384864591503861), rtol=1e-6)


def test_rings() -> None:
    center = SkyCoord(0.3, 0.1, unit="deg", frame="galactic")
    rings = make_concentric_annulus_sky_regions(center, "1.5 deg", "0.3 deg", nbin=4)
    np.testing.assert_allclose(
        [ring.sizes for ring in rings], [(0.3, 0.6), (0.6, 0.9), (0.9, 1.2), (1.2, 1.5)]
    )
    masks = np.stack([GEOM.to_image().region_mask([ring]).data for ring in rings])
    assert masks.sum(axis=0).max() == 1
    total = sum(ring.solid_angle for ring in rings).to_value("deg2")
    assert abs(masks.sum() * 0.01 / total - 1) < 0.02


def test_profile_finds_a_source_in_its_box(dataset: MapDataset) -> None:
    spectrum = PowerLawSpectralModel(index=2.5, amplitude="4e-12 cm-2 s-1 TeV-1")
    expected = [spectrum.integral(a, b).value * 1e13 for a, b in AXIS.iter_by_edges]
    dataset.counts.data[:, 20, 30 + 13] += expected
    start, end = (SkyCoord(lon, 0.05, unit="deg", frame="galactic") for lon in (2.0, -2.0))
    boxes = make_orthogonal_rectangle_sky_regions(start, end, height="0.6 deg", nbin=4)
    estimator = FluxProfileEstimator(
        boxes, spectrum, energy_edges=AXIS.edges[[0, 2, 4]], selection_optional="all", n_sigma_ul=3
    )
    profile = estimator.run(dataset)
    np.testing.assert_allclose(profile.projected_distance.edges.value, [0, 1, 2, 3, 4], atol=1e-5)
    flux = profile.quantity("flux")
    assert flux.shape == (2, 4)
    total = [spectrum.integral(a, b).value for a, b in ((1, np.sqrt(10)), (np.sqrt(10), 10)) * u.TeV]
    np.testing.assert_allclose(flux[:, 3].value, total, rtol=1e-6)
    np.testing.assert_allclose(flux[:, :3].value, 0, atol=1e-16)
    assert np.all(profile.quantity("flux_ul") > flux)
    np.testing.assert_allclose(profile.quantity("counts")[0, 0], 2 * 60)
    table = profile.to_table()
    assert table["flux"].shape == (4, 2)
    np.testing.assert_allclose(table["solid_angle"].quantity.to_value("deg2"), 0.6, rtol=1e-6)
    assert "4, box" in str(profile)


def test_models_count_as_background(dataset: MapDataset) -> None:
    source = SkyModel(
        PowerLawSpectralModel(amplitude="4e-12 cm-2 s-1 TeV-1"),
        PointSpatialModel(lon_0="0.05 deg", lat_0="0.05 deg", frame="galactic"),
        name="known",
    )
    dataset.models = [source]
    dataset.counts = dataset.npred()
    rings = make_concentric_annulus_sky_regions(source.spatial_model.position, "1 deg", nbin=3)
    profile = FluxProfileEstimator(rings, energy_edges=[1, 10] * u.TeV).run(dataset)
    np.testing.assert_allclose(profile.quantity("norm").value, 0, atol=1e-6)
    assert dataset.background.data.max() == 1
    measured = MapDatasetOnOff.from_map_dataset(dataset, acceptance=1, acceptance_off=2, name="onoff")
    measured.models = [source]
    with pytest.raises(DataError, match="off counts and models"):
        FluxProfileEstimator(rings).run(measured)
    measured.models = None
    two = FluxProfileEstimator(rings, energy_edges=[1, 10] * u.TeV).run([measured])
    assert two.quantity("norm").value[0, 0] > 0.1


def test_plots(dataset: MapDataset) -> None:
    rings = make_concentric_annulus_sky_regions(SkyCoord(0, 0, unit="deg", frame="galactic"), 1, nbin=3)
    profile = FluxProfileEstimator(rings).run(dataset)
    ax = profile.plot()
    assert ax.get_xlabel() == "distance [deg]"
    plt.close("all")
    image = dataset.counts.sum_over_axes(keepdims=False)
    image_profile = ImageProfileEstimator(axis="lat").run(image, image_err=image)
    assert image_profile.plot().get_xlabel() == "lat [deg]"
    plt.close("all")


def test_bad_profiles(dataset: MapDataset) -> None:
    start, end = (SkyCoord(lon, 0, unit="deg") for lon in (0, 1))
    with pytest.raises(ConfigError, match="the same"):
        make_orthogonal_rectangle_sky_regions(start, start)
    with pytest.raises(ConfigError, match="nbin"):
        make_orthogonal_rectangle_sky_regions(start, end, nbin=0)
    with pytest.raises(ConfigError, match="positive height"):
        make_orthogonal_rectangle_sky_regions(start, end, height="-1 deg")
    with pytest.raises(ConfigError, match="radius_min below"):
        make_concentric_annulus_sky_regions(start, "1 deg", "2 deg")
    with pytest.raises(ConfigError, match="list of single regions"):
        FluxProfileEstimator([])
    with pytest.raises(ConfigError, match="one shape"):
        FluxProfileEstimator(["icrs;circle(0, 0, 1)", "icrs;box(0, 0, 1, 1, 0)"])
    with pytest.raises(DataError, match="no pixel"):
        FluxProfileEstimator(["galactic;circle(50, 0, 1)"]).run(dataset)
    with pytest.raises(DataError, match="as many regions"):
        FluxProfile([], AXIS, [])
    circles = FluxProfileEstimator([f"galactic;circle({x}, 0, 0.3)" for x in (0, 1, 1.5)])
    np.testing.assert_allclose(circles.projected_distance_axis.center.value, [0, 1, 1.5], atol=1e-9)
    with pytest.raises(ConfigError, match="farther and farther"):
        _ = FluxProfileEstimator(
            [f"galactic;circle({x}, 0, 0.3)" for x in (0, 1, 0.5)]
        ).projected_distance_axis


# Images


def test_image_profiles() -> None:
    geom = WcsGeom.create(npix=(6, 4), binsz=(0.5, 0.25), frame="galactic")
    image = WcsNDMap(geom, data=np.arange(24.0).reshape(4, 6))
    error = WcsNDMap(geom, data=np.ones((4, 6)))
    along = ImageProfileEstimator(axis="lon").run(image, image_err=error)
    # Longitude increases to the left.
    np.testing.assert_allclose(along.profile.value, image.data.sum(axis=0)[::-1])
    np.testing.assert_allclose(along.x_ref.value, [-1.25, -0.75, -0.25, 0.25, 0.75, 1.25])
    np.testing.assert_allclose(along.profile_err.value, 2)
    across = ImageProfileEstimator(axis="lat", method="mean").run(image, image_err=error)
    np.testing.assert_allclose(across.profile.value, image.data.mean(axis=1))
    np.testing.assert_allclose(across.profile_err.value, 1 / np.sqrt(6))
    np.testing.assert_allclose(across.normalize().profile.value.max(), 1)
    np.testing.assert_allclose(across.normalize("integral").profile.value.sum(), 1)


def test_radial_profile_and_masks() -> None:
    geom = WcsGeom.create(npix=40, binsz=0.1, proj="TAN")
    center = geom.pix_to_skydir(25, 18)
    image = WcsNDMap(geom, data=geom.separation(center).to_value("deg"), unit="cm-2")
    image.data[0, 0] = np.nan
    edges = [0, 0.5, 1, 1.5] * u.deg
    profile = ImageProfileEstimator(edges, "mean", "radial", center).run(image)
    np.testing.assert_allclose(profile.profile.to_value("cm-2"), [1 / 3, 0.7778, 1.2667], rtol=0.02)
    mask = geom.region_mask("icrs;circle(0, 0, 0.01)", inside=False)
    mask.data[:] = False
    empty = ImageProfileEstimator(edges, "mean", "radial", center).run(image, mask=mask)
    assert np.isnan(empty.profile.value).all()
    assert profile.profile_err is None


def test_bad_images() -> None:
    image = Map.create(npix=4, binsz=1)
    with pytest.raises(ConfigError, match="unknown method"):
        ImageProfileEstimator(method="median")
    with pytest.raises(ConfigError, match="unknown axis"):
        ImageProfileEstimator(axis="z")
    with pytest.raises(ConfigError, match="needs a center"):
        ImageProfileEstimator(axis="radial")
    with pytest.raises(ConfigError, match="increasing x_edges"):
        ImageProfileEstimator([1, 0] * u.deg)
    with pytest.raises(UnitsError, match="angles"):
        ImageProfileEstimator([0, 1] * u.TeV)
    with pytest.raises(DataError, match="other pixels"):
        ImageProfileEstimator().run(image, mask=Map.create(npix=3, binsz=1, dtype=bool))
    with pytest.raises(DataError, match="an image of the sky"):
        ImageProfileEstimator().run(WcsNDMap(GEOM))
    with pytest.raises(ConfigError, match="unknown mode"):
        ImageProfileEstimator().run(image).normalize("max")
