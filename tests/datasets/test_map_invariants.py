"""What no cut, join or stack of cubes may change, for any counts and masks."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from map_dataset_toys import AXIS

from villard.datasets import MapDataset, MapDatasetOnOff
from villard.maps import WcsGeom, WcsNDMap

GEOM = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.5, npix=(6, 4), axes=[AXIS])
SHAPE = GEOM.data_shape

counts = hnp.arrays(float, SHAPE, elements=st.integers(0, 20).map(float))
backgrounds = hnp.arrays(float, SHAPE, elements=st.floats(0.1, 20))
masks = hnp.arrays(bool, SHAPE)


@st.composite
def cubes(draw: Any) -> MapDataset:
    maps = {
        "counts": draw(counts),
        "background": draw(backgrounds),
        "mask_safe": draw(masks),
        "mask_fit": draw(masks),
    }
    return MapDataset(**{key: WcsNDMap(GEOM, data=data) for key, data in maps.items()})


@st.composite
def onoff_cubes(draw: Any) -> MapDatasetOnOff:
    maps = {
        "counts": draw(counts),
        "counts_off": draw(counts),
        "acceptance": draw(backgrounds),
        "acceptance_off": draw(backgrounds),
        "mask_safe": draw(masks),
    }
    return MapDatasetOnOff(**{key: WcsNDMap(GEOM, data=data) for key, data in maps.items()})


def safe_sum(dataset: MapDataset, key: str) -> float:
    return float(np.sum(getattr(dataset, key).data[dataset.mask_safe.data]))


@given(cubes())
def test_joined_bins_keep_the_sums(dataset: MapDataset) -> None:
    joined = [dataset.downsample(2), dataset.to_image(), dataset.pad(2), dataset.to_masked()]
    joined.append(dataset.downsample(3, axis_name="energy"))
    for other in joined:
        for key in ("counts", "background"):
            assert safe_sum(other, key) == pytest.approx(safe_sum(dataset, key), rel=1e-12)


@given(cubes(), st.integers(1, 2))
def test_statistic_is_the_sum_of_slices(dataset: MapDataset, edge: int) -> None:
    assume(dataset.mask.data.any())
    parts = [dataset.slice_by_idx({"energy": item}) for item in (slice(0, edge), slice(edge, 3))]
    # Nothing at all can't be fitted.
    total = sum(part.stat_sum() for part in parts if part.mask.data.any())
    assert dataset.stat_sum() == pytest.approx(total, abs=1e-9)


@given(cubes(), cubes())
def test_stacks_do_not_depend_on_the_order(first: MapDataset, second: MapDataset) -> None:
    one, two = first.copy(), second.copy()
    one.stack(second)
    two.stack(first)
    for key in ("counts", "background", "mask_safe", "mask_fit"):
        np.testing.assert_allclose(getattr(one, key).data, getattr(two, key).data)
    expected = safe_sum(first, "counts") + safe_sum(second, "counts")
    assert one.counts.data.sum() == expected
    assert np.array_equal(one.mask_safe.data, first.mask_safe.data | second.mask_safe.data)
    assert np.array_equal(one.mask_fit.data, first.mask.data | second.mask.data)


@given(onoff_cubes(), onoff_cubes())
def test_off_counts_keep_their_scaled_sum(first: MapDatasetOnOff, second: MapDatasetOnOff) -> None:
    expected = safe_sum(first, "background") + safe_sum(second, "background")
    for other in (first.downsample(2), first.to_image(), first.pad(1)):
        assert safe_sum(other, "background") == pytest.approx(safe_sum(first, "background"), rel=1e-9)
    first.stack(second)
    assert first.background.data.sum() == pytest.approx(expected, rel=1e-9)


@given(onoff_cubes())
def test_statistic_of_off_counts_is_never_negative(dataset: MapDatasetOnOff) -> None:
    assume(dataset.mask.data.any())
    assert np.all(dataset.stat_array() > -1e-9)
