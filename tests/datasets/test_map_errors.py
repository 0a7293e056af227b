"""Cubes that can't be right: named errors when they are made or bound."""

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from map_dataset_toys import (
    AREA_TIME,
    AXIS,
    AXIS_TRUE,
    GEOM,
    IMAGE,
    SAME_TRUE,
    cube,
    dataset,
    edisp,
    exposure,
    point,
    psf,
)

from villard.datasets import MapDataset
from villard.exceptions import DataError, UnitsError
from villard.maps import MapAxis, RegionGeom, RegionNDMap, WcsGeom, WcsNDMap
from villard.modeling import Fit

OTHER_SKY = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.05, width=(2, 2), axes=[AXIS])
SHIFTED = WcsGeom.create(skydir=(1, 0), frame="galactic", binsz=0.05, width=(3, 2), axes=[AXIS])
OTHER_AXIS = IMAGE.to_cube([MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)])


def with_value(value: float, geom: WcsGeom = GEOM, fill: float = 1.0, **kwargs: Any) -> WcsNDMap:
    result = cube(fill, geom, **kwargs)
    result.data[1, 2, 3] = value
    return result


@pytest.mark.parametrize("key", ["background", "mask_safe", "mask_fit"])
@pytest.mark.parametrize(
    ("geom", "message"),
    [
        (OTHER_SKY, "expected the pixels of counts, WcsGeom.* 60 x 40.* found .* 40 x 40"),
        (SHIFTED, "expected the pixels of counts"),
        (OTHER_AXIS, "expected the bins of .*3 bins.* found .*4 bins"),
    ],
)
def test_maps_of_different_geometry(key: str, geom: WcsGeom, message: str) -> None:
    with pytest.raises(DataError, match=f"Dataset 'toy': {key}: {message}"):
        dataset(**{key: cube(key.startswith("mask") or 1.0, geom)})


def test_counts_set_later_must_fit() -> None:
    toy = dataset()
    with pytest.raises(DataError, match="'toy': counts: expected the pixels of background"):
        toy.counts = cube(1.0, SHIFTED)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"counts": with_value(-1)}, "counts: values can't be negative, found -1 in bin"),
        ({"background": with_value(-0.5)}, "background: values can't be negative, found -0.5 in bin"),
        ({"exposure": cube(-1.0, IMAGE.to_cube([SAME_TRUE]), unit="cm2 s")}, "exposure: .* negative"),
        ({"exposure": cube(np.nan, IMAGE.to_cube([SAME_TRUE]), unit="cm2 s")}, "exposure: .* finite"),
        ({"exposure": cube(np.inf, IMAGE.to_cube([SAME_TRUE]), unit="cm2 s")}, "exposure: .* finite"),
        ({"mask_safe": cube(1.0)}, "mask_safe: expected a boolean map, found one of float64"),
        ({"exposure": cube(1.0, unit="cm2 s")}, "exposure: expected a map with the axis 'energy_true'"),
        ({"psf": 0.1}, "psf: expected a PSFMap or PSFKernel, found float"),
        ({"edisp": psf()}, "edisp: expected a EDispKernelMap or .*, found PSFMap"),
        ({"edisp": edisp(AXIS_TRUE)}, "edisp, axis energy_true: expected the bins of"),
    ],
)
def test_values_and_kinds(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"Dataset 'toy': {message}"):
        dataset(**parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"exposure": cube(1.0, IMAGE.to_cube([SAME_TRUE]), unit="s")},
            "exposure: .* times time, found s",
        ),
        ({"exposure": cube(1.0, IMAGE.to_cube([SAME_TRUE]))}, "exposure: .* found none"),
        ({"background": cube(1.0, unit="s-1")}, "background: expected numbers without unit, found 1 / s"),
        ({"counts": cube(1.0, unit="cm2")}, "counts: expected numbers without unit, found cm2"),
    ],
)
def test_units(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(UnitsError, match=f"Dataset 'toy': {message}"):
        dataset(**parts)


def test_counts_of_a_region_are_no_cube() -> None:
    with pytest.raises(DataError, match="'toy': counts: expected a WcsNDMap, found RegionNDMap"):
        dataset(counts=RegionNDMap(RegionGeom(None, axes=[AXIS])))


@pytest.mark.parametrize("key", ["counts", "background"])
def test_nan_in_the_fit_range(key: str) -> None:
    toy = dataset(**{key: with_value(np.nan)}, models=point())
    message = f"'toy': {key}: expected finite values in the fit range, found 1 that aren't"
    with pytest.raises(DataError, match=message):
        toy.stat_sum()
    with pytest.raises(DataError, match=message):
        Fit().run([toy])
    mask = with_value(0.0)
    toy.mask_fit = cube(mask.data > 0)
    assert np.isfinite(toy.stat_sum())
    assert Fit().run([toy]).total_stat == pytest.approx(toy.stat_sum(), rel=1e-6)


def test_all_masked() -> None:
    toy = dataset(mask_safe=cube(False), models=point())
    message = "'toy': expected at least one bin in mask_safe and mask_fit, found none of 7200"
    with pytest.raises(DataError, match=message):
        toy.measurement()
    with pytest.raises(DataError, match=message):
        Fit().run([toy])
    assert toy.npred().data.sum() > 0


def test_exposure_that_does_not_cover_a_source() -> None:
    small = WcsGeom.create(skydir=(1, 0), frame="galactic", binsz=0.1, width=(1, 1), axes=[SAME_TRUE])
    toy = dataset(exposure=cube(AREA_TIME, small, unit="cm2 s"), models=point())
    message = "'toy': model 'point' at .* deg: the exposure, WcsGeom.*, doesn't cover this position"
    with pytest.raises(DataError, match=message):
        toy.stat_sum()
    with pytest.raises(DataError, match=message):
        Fit().run([toy])


def test_no_exposure_where_a_source_is() -> None:
    values = exposure()
    values.data[..., 25:35] = 0
    toy = dataset(exposure=values, models=point())
    with pytest.raises(DataError, match=r"'toy': model 'point' .* free parameters, but the exposure is 0"):
        Fit().run([toy])
    toy.models.freeze()
    assert np.isfinite(toy.stat_sum())


def test_what_is_missing() -> None:
    with pytest.raises(DataError, match="'toy': counts is needed here, but not set"):
        dataset(counts=None).stat_sum()
    with pytest.raises(DataError, match="'toy': exposure is needed here, but not set"):
        dataset(exposure=None, models=point()).npred()
    with pytest.raises(DataError, match="'empty': there is no map along the axis 'energy'"):
        MapDataset(name="empty").npred()
    assert dataset(exposure=None).stat_sum() == dataset().stat_sum()


def test_create_needs_the_right_axes() -> None:
    with pytest.raises(DataError, match="energy_axis_true: expected the name 'energy_true', found 'energy'"):
        MapDataset.create(GEOM, energy_axis_true=AXIS)
    with pytest.raises(DataError, match=r"geom: expected the axis 'energy' alone, found \[\]"):
        MapDataset.create(IMAGE)
    with pytest.raises(DataError, match="rad_axis: expected the name 'rad', found 'migra'"):
        MapDataset.create(GEOM, rad_axis=MapAxis.from_bounds(0, 1, nbin=3, unit="deg", name="migra"))


def test_statistics_are_known() -> None:
    with pytest.raises(DataError, match="'toy': stat_type 'chi2'"):
        dataset(stat_type="chi2")
    assert dataset().livetime == 100 * u.s
