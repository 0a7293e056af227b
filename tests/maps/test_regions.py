from contextlib import suppress
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from villard.exceptions import DataError
from villard.maps import MapAxis, RegionGeom, RegionNDMap, SkyRegion, SkyRegionUnion
from villard.maps.regions import make_region

CRAB = SkyCoord(83.63, 22.01, unit="deg")


@pytest.mark.parametrize(
    "text",
    [
        "icrs;circle(83.63, 22.01, 0.11)",
        "galactic;annulus(184.5, -5.8, 0.1, 0.3)",
        "icrs;ellipse(83.63, 22.01, 0.2, 0.1, 30)",
        "fk5;box(83.63, 22.01, 0.4, 0.2, -30)",
        "icrs;point(83.63, 22.01)",
    ],
)
def test_ds9_text_round_trip(text):
    region = make_region(text)
    assert region.to_ds9() == text
    assert make_region(region.to_ds9()) == region
    assert str(region) == text


def test_ds9_units_and_sexagesimal():
    a = make_region("fk5; circle(05:34:31.2 +22:00:36 6.6')  # color=red")
    assert_allclose([a.lon, a.lat, *a.sizes], [83.63, 22.01, 0.11], rtol=1e-12)
    b = make_region('global color=green\nicrs\ncircle(83.63d, 22.01d, 396")')
    assert_allclose([b.lon, b.lat, *b.sizes], [83.63, 22.01, 0.11], rtol=1e-12)


def test_solid_angle_of_the_sphere():
    assert_allclose(make_region("icrs;circle(0, 0, 180)").solid_angle.to_value("sr"), 4 * np.pi)
    assert_allclose(make_region("icrs;circle(0, 90, 90)").solid_angle.to_value("sr"), 2 * np.pi)
    small = make_region("icrs;circle(0, 0, 1e-7)").solid_angle.to_value("deg2")
    assert_allclose(small, np.pi * 1e-14, rtol=1e-9)
    box = make_region("icrs;box(0, 0, 0.4, 0.2, 10)").solid_angle.to_value("deg2")
    ellipse = make_region("icrs;ellipse(0, 0, 0.2, 0.1, 10)").solid_angle.to_value("deg2")
    assert_allclose([box, ellipse], [0.08, np.pi * 0.02])


@given(st.floats(0.01, 5), st.floats(0.01, 5))
def test_annulus_is_the_difference_of_circles(a, b):
    a, b = sorted([a, b])
    annulus = SkyRegion("annulus", 10, 20, (a, b)).solid_angle
    circles = [SkyRegion("circle", 10, 20, (r,)).solid_angle for r in (a, b)]
    assert_allclose(annulus.value, (circles[1] - circles[0]).value, atol=1e-15)


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("icrs;circle(83.63, 22.01, 0.11)", np.pi * 0.0121),
        ("icrs;ellipse(83.63, 22.01, 0.2, 0.1, 30)", np.pi * 0.02),
        ("icrs;box(83.63, 22.01, 0.4, 0.2, 30)", 0.08),
        ("icrs;annulus(83.63, 22.01, 0.1, 0.2)", np.pi * 0.03),
    ],
)
def test_contains_the_right_share_of_directions(text, area):
    grid = np.linspace(-0.3, 0.3, 301)
    x, y = np.meshgrid(grid, grid)
    inside = make_region(text).contains(
        SkyCoord(83.63 + x / np.cos(np.radians(22.01 + y)), 22.01 + y, unit="deg")
    )
    assert_allclose(inside.mean() * 0.36, area, rtol=0.02)


def test_angle_turns_from_west_to_north():
    # Like DS9 and the package regions: counter-clockwise on the sky, from decreasing longitude.
    region = make_region("icrs;ellipse(83.63, 22.01, 0.2, 0.01, 45)")
    north_west = CRAB.directional_offset_by(-45 * u.deg, 0.15 * u.deg)
    north_east = CRAB.directional_offset_by(45 * u.deg, 0.15 * u.deg)
    assert region.contains(north_west)
    assert not region.contains(north_east)


def test_union():
    union = make_region("icrs;circle(83, 22, 0.1);circle(84, 22, 0.1)")
    assert isinstance(union, SkyRegionUnion)
    assert len(union) == 2
    assert_allclose(union.solid_angle.value, 2 * union.parts[0].solid_angle.value)
    assert list(union.contains(SkyCoord([83, 84, 83.5], [22, 22, 22], unit="deg"))) == [True, True, False]
    assert_allclose(union.center.ra.deg, 83.5)
    assert make_region([union, "icrs;circle(85, 22, 0.1)"]).parts[2].lon == 85
    assert union.to_ds9() == "icrs;circle(83, 22, 0.1);icrs;circle(84, 22, 0.1)"
    assert make_region(union.to_ds9()) == union


def test_objects_of_the_regions_package_are_known_by_their_attributes():
    # Stand-ins: the package itself isn't needed.
    def stand_in(kind, **attributes):
        return type(kind, (SimpleNamespace,), {})(center=CRAB, **attributes)

    circle = make_region(stand_in("CircleSkyRegion", radius=6.6 * u.arcmin))
    assert circle.is_allclose(make_region("icrs;circle(83.63, 22.01, 0.11)"))
    ellipse = make_region(
        stand_in("EllipseSkyRegion", width=0.4 * u.deg, height=0.2 * u.deg, angle=30 * u.deg)
    )
    assert ellipse.is_allclose(make_region("icrs;ellipse(83.63, 22.01, 0.2, 0.1, 30)"))
    assert make_region(CRAB).shape == "point"
    with pytest.raises(DataError, match="PolygonSkyRegion isn't supported"):
        make_region(stand_in("PolygonSkyRegion"))


def test_regions_package():
    regions = pytest.importorskip(
        "regions", reason="needs the package regions (pip install 'villard[regions]')"
    )
    region = make_region(regions.RectangleSkyRegion(CRAB, 0.4 * u.deg, 0.2 * u.deg, 30 * u.deg))
    assert region.is_allclose(make_region("icrs;box(83.63, 22.01, 0.4, 0.2, 30)"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("circle(1, 2)", "needs 3 numbers, found 2"),
        ("polygon(1, 2, 3, 4, 5, 6)", "'polygon' isn't supported"),
        ("icrs;blob", "don't understand 'blob'"),
        ("icrs", "no shape found"),
        ("circle(1, x, 3)", "could not convert"),
        ("circle(1, 95, 3)", "impossible position"),
        ("circle(1, 5, -3)", "impossible position or size"),
        ("annulus(1, 5, 3, 2)", "inner radius"),
        ("circle(1, 5, nan)", "impossible"),
    ],
)
def test_bad_text_is_named(text, message):
    with pytest.raises(DataError, match=message):
        make_region(text)


@given(st.text(max_size=40))
def test_any_text_gives_a_region_or_a_named_error(text):
    with suppress(DataError):
        make_region(text)


@pytest.mark.parametrize(
    "region",
    [
        "icrs;circle(83.63, 22.01, 0.11)",
        "galactic;annulus(184.55, -5.78, 0.1, 0.3)",
        "icrs;ellipse(83.63, 22.01, 0.2, 0.1, 30)",
        "icrs;box(83.63, 22.01, 0.4, 0.2, 30)",
        "icrs;point(0.01, -89)",
        "icrs;circle(83.63, 22.01, 0.11);circle(359.9, 22.01, 0.1);box(80, 23, 0.1, 0.2, 7)",
    ],
)
def test_region_in_a_file_comes_back(region, tmp_path):
    geom = RegionGeom(region, axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)])
    if "359.9" in region:
        # Parts must lie on one hemisphere; these do.
        assert geom.contains(SkyCoord(359.9, 22.01, unit="deg"))
    RegionNDMap(geom).write(tmp_path / "map.fits")
    assert RegionNDMap.read(tmp_path / "map.fits").geom.is_allclose(geom)


def test_region_table_of_another_tool(gammapy_data):
    folder = gammapy_data / "datasets/simulations"
    counts = RegionNDMap.read(folder / "simulated_spectrum_dataset_PL_bkg.fits")
    assert counts.geom.region.is_allclose(make_region("icrs;circle(0, 0, 0.1)"))
    assert_allclose(counts.geom.solid_angle().to_value("deg2"), np.pi * 0.01, rtol=1e-5)
