"""Peaks are where they were put."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from villard.estimators import find_peaks
from villard.exceptions import DataError, UnitsError
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap


@pytest.fixture
def image() -> WcsNDMap:
    geom = WcsGeom.create(skydir=(10, 20), frame="galactic", binsz=(0.1, 0.2), npix=(30, 20))
    return WcsNDMap(geom)


def test_positions_and_order(image: WcsNDMap) -> None:
    image.data[3, 5], image.data[12, 20], image.data[0, 29] = 4.5, 9.0, 7.0
    table = find_peaks(image, threshold=1)
    assert table["value"].tolist() == [9.0, 7.0, 4.5]
    assert list(zip(table["x"], table["y"], strict=True)) == [(20, 12), (29, 0), (5, 3)]
    position = SkyCoord(table["ra"].quantity, table["dec"].quantity, frame="icrs").galactic
    expected = image.geom.pix_to_skydir([20, 29, 5], [12, 0, 3])
    np.testing.assert_allclose(position.separation(expected).deg, 0, atol=1e-9)


def test_a_smooth_bump_is_one_peak(image: WcsNDMap) -> None:
    y, x = np.indices(image.data.shape)
    image.data[...] = np.exp(-0.5 * ((x - 14) ** 2 + (y - 7) ** 2) / 9)
    table = find_peaks(image, threshold=0.1)
    assert (len(table), table["x"][0], table["y"][0]) == (1, 14, 7)


def test_min_distance(image: WcsNDMap) -> None:
    image.data[10, 10], image.data[10, 14] = 5, 4
    assert len(find_peaks(image, 1, min_distance=3)) == 2
    assert len(find_peaks(image, 1, min_distance=4)) == 1
    # As an angle it is converted along each axis.
    image.data[10, 14], image.data[12, 10] = 0, 4
    assert len(find_peaks(image, 1, min_distance=0.2 * u.deg)) == 2
    assert len(find_peaks(image, 1, min_distance="0.4 deg")) == 1
    assert len(find_peaks(image, 1, min_distance=0)) == 2


def test_threshold_is_exclusive(image: WcsNDMap) -> None:
    image.data[10, 10] = 5
    assert len(find_peaks(image, 5)) == 0
    empty = find_peaks(image, 5)
    assert empty.colnames == ["value", "x", "y", "ra", "dec"]


def test_plateaus_are_one_peak(image: WcsNDMap) -> None:
    image.data[5, 5:8] = 3
    image.data[5, 20] = 3
    table = find_peaks(image, 1)
    assert table["x"].tolist() == [5, 7, 20]
    assert find_peaks(image, 1, min_distance=2)["x"].tolist() == [5, 20]
    image.data[...] = 3
    assert len(find_peaks(image, 1, min_distance=30)) == 1


def test_nan_and_mask(image: WcsNDMap) -> None:
    image.data[...] = np.nan
    assert len(find_peaks(image, 0)) == 0
    image.data[4:8, 4:8] = 1
    image.data[5, 5], image.data[7, 7] = 8, 6
    mask = image.copy(data=np.ones(image.data.shape, dtype=bool))
    mask.data[5, 5] = False
    table = find_peaks(image, 1, min_distance=3, mask=mask)
    assert (table["x"].tolist(), table["y"].tolist()) == ([7], [7])


def test_axis_of_one_bin_and_units(image: WcsNDMap) -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    cube = WcsNDMap(image.geom.to_cube([axis]), unit="cm-2 s-1")
    cube.data[0, 3, 4] = 2
    table = find_peaks(cube, 1)
    assert table["value"].unit == "cm-2 s-1"
    assert table["x"][0] == 4


def test_bad_input(image: WcsNDMap) -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    with pytest.raises(DataError, match="expected an image"):
        find_peaks(WcsNDMap(image.geom.to_cube([axis])), 1)
    with pytest.raises(DataError, match="expected a mask of the geometry"):
        find_peaks(image, 1, mask=Map.create(npix=3, binsz=1, dtype=bool))
    with pytest.raises(DataError, match="finite threshold"):
        find_peaks(image, np.nan)
    with pytest.raises(DataError, match="number as threshold"):
        find_peaks(image, "high")
    with pytest.raises(DataError, match="at least 0"):
        find_peaks(image, 1, min_distance=-1)
    with pytest.raises(UnitsError, match="an angle or a number"):
        find_peaks(image, 1, min_distance="3 s")


@given(arrays(float, (9, 11), elements=st.integers(0, 5)), st.integers(1, 4))
def test_peaks_are_apart_and_nothing_higher_is_near(data: np.ndarray, distance: int) -> None:
    image = Map.create(npix=(11, 9), binsz=1)
    image.data[...] = data
    table = find_peaks(image, 2, min_distance=distance)
    x, y = np.array(table["x"]), np.array(table["y"])
    for i in range(len(table)):
        near = data[
            max(0, y[i] - distance) : y[i] + distance + 1, max(0, x[i] - distance) : x[i] + distance + 1
        ]
        assert table["value"][i] == near.max()
        others = np.maximum(np.abs(x - x[i]), np.abs(y - y[i])) <= distance
        assert others.sum() == 1
    if data.max() > 2:
        assert len(table)
        assert table["value"][0] == data.max()
