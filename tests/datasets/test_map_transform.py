"""Cubes cut, rebinned, stacked and reduced to spectra: what must be kept is kept."""

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from map_dataset_toys import (
    AREA_TIME,
    AXIS,
    AXIS_TRUE,
    GEOM,
    IMAGE,
    RAD,
    SAME_TRUE,
    cube,
    dataset,
    edisp,
    exposure,
    flux,
    gauss,
    onoff_dataset,
    point,
    psf,
)

from villard.data.gti import GTI
from villard.datasets import Datasets, MapDataset, SpectrumDataset, SpectrumDatasetOnOff
from villard.exceptions import DataError
from villard.irf import EDispMap, PSFKernel, PSFMap
from villard.maps import MapAxis, RegionGeom, WcsGeom
from villard.modeling.models import FoVBackgroundModel

CENTER = SkyCoord(0, 0, unit="deg", frame="galactic")
COARSE = IMAGE.to_binsz(0.5)


def run(seed: int, mask: Any = None, geom: WcsGeom | None = None, **kwargs: Any) -> MapDataset:
    """Return a dataset with all responses, as of one observation."""
    rng = np.random.default_rng(seed)
    area = AREA_TIME * (1 + seed)
    parts = {
        "counts": cube(rng.poisson(2.0, GEOM.data_shape).astype(float)),
        "background": cube(rng.uniform(1, 3, GEOM.data_shape)),
        "exposure": exposure(AXIS_TRUE, area),
        "psf": psf(AXIS_TRUE, 0.05 * (1 + seed), geom),
        "edisp": edisp(sigma=0.1 * (1 + seed), geom=geom),
        "mask_safe": cube(True if mask is None else mask),
        "gti": GTI.create([seed] * u.h, [seed + 0.5] * u.h),
        "meta_table": Table({"OBS_ID": [seed]}),
        "name": f"run-{seed}",
    }
    return dataset(**(parts | kwargs))


def masked_sum(datasets: list[MapDataset], part: Any) -> np.ndarray:
    return sum(np.where(d.mask_safe.data, part(d).data, 0.0) for d in datasets)


@pytest.mark.parametrize("geom", [None, COARSE], ids=["one response", "response per pixel"])
def test_stack_adds_counts_and_predictions(geom: WcsGeom | None) -> None:
    inner = np.broadcast_to(GEOM.region_mask("galactic;circle(0.3, 0, 0.9)").data, GEOM.data_shape)
    runs = [run(1, geom=geom), run(2, mask=GEOM.energy_mask(energy_min=2 * u.TeV).data, geom=geom)]
    if geom is not None:
        runs.append(run(3, mask=inner, geom=geom))
    stacked = Datasets(runs).stack_reduce(name="stacked")
    for key in ("counts", "background"):
        expected = masked_sum(runs, lambda d, key=key: getattr(d, key))
        np.testing.assert_allclose(getattr(stacked, key).data, expected)
    assert np.array_equal(stacked.mask_safe.data, np.any([r.mask_safe.data for r in runs], axis=0))
    assert stacked.livetime == 100 * len(runs) * u.s
    assert stacked.gti.time_sum == 0.5 * len(runs) * u.h
    assert stacked.meta_table["OBS_ID"].tolist() == list(range(1, len(runs) + 1))
    source = gauss(sigma=0.1)
    for toy in (*runs, stacked):
        toy.models = [source]
    expected = masked_sum(runs, lambda d: d.npred_signal())
    npred = stacked.npred_signal().data
    # Exact in sum as long as the source lies inside, and in shape up to the mean of two PSFs' shapes.
    rtol = 1e-4 if geom is None else 1e-2
    np.testing.assert_allclose(npred.sum(axis=(1, 2)), expected.sum(axis=(1, 2)), rtol=rtol)
    np.testing.assert_allclose(npred, expected, atol=0.05 * expected.max())


def test_stack_of_two_is_the_double() -> None:
    stacked = run(1)
    stacked.stack(run(1))
    single, stacked.models = run(1, models=[gauss()]), [gauss()]
    np.testing.assert_allclose(stacked.npred().data, 2 * single.npred().data, rtol=1e-9)


def test_stack_into_an_empty_dataset() -> None:
    runs = [run(1, geom=COARSE), run(2, geom=COARSE)]
    for toy in runs:
        toy.psf = psf(AXIS_TRUE, 0.1, COARSE)
    empty = MapDataset.create(GEOM, AXIS_TRUE, rad_axis=RAD, binsz_irf=0.5, name="stacked")
    for toy in runs:
        empty.stack(toy)
    assert np.all(empty.mask_safe.data)
    np.testing.assert_allclose(empty.counts.data, runs[0].counts.data + runs[1].counts.data)
    assert empty.gti.time_sum == 1 * u.h
    assert empty.livetime == 200 * u.s
    assert empty.meta_table["OBS_ID"].tolist() == [1, 2]
    for toy in (*runs, empty):
        toy.models = [point()]
    expected = sum(toy.npred().data for toy in runs)
    np.testing.assert_allclose(empty.npred().data, expected, rtol=1e-3, atol=1e-6)


def test_stack_of_a_cutout() -> None:
    total = run(1, geom=COARSE)
    part = run(2, geom=COARSE).cutout(CENTER, (1, 1) * u.deg)
    before = total.counts.data.sum()
    outside = total.counts.data[:, 0, 0].copy()
    total.stack(part)
    assert total.counts.data.sum() == before + part.counts.data.sum()
    np.testing.assert_array_equal(total.counts.data[:, 0, 0], outside)


def test_stack_unites_fit_ranges() -> None:
    first, second = run(1), run(2)
    second.mask_fit = GEOM.energy_mask(energy_min=2 * u.TeV)
    first.mask_fit = GEOM.energy_mask(energy_min=4 * u.TeV)
    first.stack(second)
    assert np.array_equal(first.mask_fit.data, second.mask_fit.data)


def test_stack_names_what_does_not_fit() -> None:
    with pytest.raises(DataError, match=r"'run-1' and 'run-2'.*psf of 'run-2', found none"):
        run(1).stack(run(2, psf=None))
    with pytest.raises(DataError, match="only datasets with the same bins can be stacked"):
        run(1).stack(run(2).slice_by_idx({"energy": slice(0, 2)}, name="run-2"))
    with pytest.raises(DataError, match="'run-2' has no exposure"):
        run(1).stack(run(2, exposure=None))
    other = MapDataset.create(WcsGeom.create(skydir=(0, 0), binsz=0.07, width=1, axes=[AXIS]), AXIS_TRUE)
    with pytest.raises(DataError, match="doesn't have the pixels of"):
        run(1, psf=None, edisp=None).stack(other)


def test_to_masked() -> None:
    toy = run(1, mask=GEOM.energy_mask(energy_min=2 * u.TeV).data, models=[gauss()])
    masked = toy.to_masked(name="masked")
    masked.models = [gauss()]
    assert masked.counts.data[0].sum() == 0
    assert toy.counts.data[0].sum() > 0
    np.testing.assert_allclose(masked.npred().data, np.where(toy.mask_safe.data, toy.npred().data, 0))


def test_cutout_keeps_the_prediction_inside() -> None:
    toy = run(1, geom=COARSE, models=[gauss(sigma=0.1)])
    part = toy.cutout(CENTER, (2, 1.5) * u.deg, name="part")
    assert part.name == "part"
    assert part.counts.data.shape == (3, 30, 40)
    part.models = [gauss(sigma=0.1)]
    np.testing.assert_allclose(part.npred().data, toy.npred().data[:, 5:35, 10:50], rtol=1e-4, atol=1e-7)
    with pytest.raises(DataError, match="lies wholly outside"):
        toy.cutout(SkyCoord(30, 0, unit="deg", frame="galactic"), 1 * u.deg)


def test_slices_of_energy() -> None:
    toy = run(1, models=[gauss()], mask_fit=cube(True))
    part = toy.slice_by_energy(2 * u.TeV, 10 * u.TeV, name="part")
    part.models = [gauss()]
    np.testing.assert_allclose(part.npred().data, toy.npred().data[1:], rtol=1e-12)
    assert part.mask_fit.data.shape == part.counts.data.shape == (2, *IMAGE.data_shape)
    true = toy.slice_by_idx({"energy_true": slice(1, 4)})
    true.models = [gauss()]
    matrix = edisp(sigma=0.2).get_edisp_kernel().pdf_matrix
    expected = (flux(AXIS_TRUE) * 2 * AREA_TIME)[1:4] @ matrix[1:4]
    np.testing.assert_allclose(true.npred_signal().data.sum(axis=(1, 2)), expected, rtol=1e-3)
    with pytest.raises(DataError, match="expected slices of energy or energy_true, found 'lon'"):
        toy.slice_by_idx({"lon": slice(0, 1)})


def test_slices_without_energy_dispersion() -> None:
    toy = dataset(models=[point()])
    part = toy.slice_by_idx({"energy": slice(1, 3)})
    part.models = [point()]
    np.testing.assert_allclose(part.npred().data, toy.npred().data[1:])


@pytest.mark.parametrize("kind", ["map", "kernel", "migra", "none"])
def test_joined_energies_predict_the_sum(kind: str) -> None:
    mask = np.ones(GEOM.data_shape, dtype=bool)
    mask[0, :, :30] = False
    toy = run(1, mask=mask, geom=COARSE, models=[gauss(lon=-0.9)])
    if kind == "kernel":
        toy.edisp = toy.edisp.get_edisp_kernel()
    if kind == "migra":
        migra = MapAxis.from_bounds(0, 3, nbin=300, name="migra")
        toy.edisp = EDispMap.from_gauss(AXIS_TRUE, migra, sigma=0.2, geom=COARSE)
    if kind == "none":
        toy = dataset(models=[gauss(lon=-0.9)], mask_safe=cube(mask))
    joined = toy.resample_energy_axis(
        MapAxis.from_energy_edges([1, 10 ** (2 / 3), 10] * u.TeV), name="joined"
    )
    assert joined.counts.geom.axes["energy"].nbin == 2
    counts = np.where(mask, toy.counts.data, 0)
    np.testing.assert_allclose(joined.counts.data, [counts[:2].sum(axis=0), counts[2]])
    joined.models = [gauss(lon=-0.9)]
    npred = toy.npred_signal().data
    # Where all energies are safe, which is half of the map; the source is at a longitude of -0.9 deg.
    right = slice(40, 60) if kind in {"map", "migra"} else slice(0, 0)
    expected = np.stack([npred[:2].sum(axis=0), npred[2]])
    np.testing.assert_allclose(
        joined.npred_signal().data[..., right], expected[..., right], rtol=1e-9, atol=1e-9
    )
    image = toy.to_image()
    assert image.counts.data.sum() == counts.sum()
    assert image.mask_safe.data.all()


def test_downsample_adds_pixels() -> None:
    toy = run(1, models=[gauss()])
    joined = toy.downsample(2, name="joined")
    assert joined.counts.data.shape == (3, 20, 30)
    assert joined.counts.data.sum() == toy.counts.data.sum()
    assert joined.background.data.sum() == pytest.approx(toy.background.data.sum())
    np.testing.assert_allclose(joined.exposure.data, toy.exposure.data[:, ::2, ::2])
    joined.models = [gauss()]
    blocks = toy.npred_signal().data.reshape(3, 20, 2, 30, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(joined.npred_signal().data, blocks, rtol=0.02, atol=1e-3 * blocks.max())
    assert toy.downsample(3, axis_name="energy").counts.data.shape == (1, 40, 60)
    with pytest.raises(DataError, match="can't be joined by 7"):
        toy.downsample(7)


def test_downsample_leaves_out_what_is_masked() -> None:
    mask = np.ones(GEOM.data_shape, dtype=bool)
    mask[:, 0, 0] = False
    mask[:, 2:4, 2:4] = False
    joined = run(1, mask=mask).downsample(2)
    assert joined.mask_safe.data[0, 0, 0]
    assert not joined.mask_safe.data[0, 1, 1]
    assert joined.counts.data.sum() == np.where(mask, run(1).counts.data, 0).sum()


def test_pad() -> None:
    toy = run(1)
    padded = toy.pad((2, 3))
    assert padded.counts.data.shape == (3, 46, 64)
    assert padded.counts.data.sum() == toy.counts.data.sum()
    assert padded.mask_safe.data.sum() == toy.mask_safe.data.sum()
    assert padded.exposure.data[:, 0, 0].max() == 0
    assert toy.pad(1, mode="edge").exposure.data[:, 0, 0].min() > 0
    assert padded.stat_sum() == pytest.approx(toy.stat_sum())


REGION = "galactic;circle(0.025, 0.025, 0.3)"


def test_spectrum_of_a_region() -> None:
    toy = run(1, geom=COARSE, mask_fit=cube(True))
    spectrum = toy.to_spectrum_dataset(REGION, containment_correction=True, name="spectrum")
    inside = IMAGE.region_mask(REGION).data
    assert isinstance(spectrum, SpectrumDataset)
    assert spectrum.name == "spectrum"
    np.testing.assert_allclose(spectrum.counts.data.ravel(), toy.counts.data[:, inside].sum(axis=1))
    np.testing.assert_allclose(spectrum.background.data.ravel(), toy.background.data[:, inside].sum(axis=1))
    # σ = 0.1 deg: a circle of three σ.
    expected = 2 * AREA_TIME * (1 - np.exp(-9 / 2))
    np.testing.assert_allclose(spectrum.exposure.data.ravel(), expected, rtol=1e-3)
    assert spectrum.livetime == toy.livetime
    assert spectrum.gti.time_sum == toy.gti.time_sum
    spectrum.models = toy.models = [point()]
    cubes = toy.npred_signal().data[:, inside].sum(axis=1)
    np.testing.assert_allclose(spectrum.npred_signal().data.ravel(), cubes, rtol=0.01)


def test_spectrum_within_the_mask() -> None:
    mask = GEOM.energy_mask(energy_min=2 * u.TeV).data & (np.arange(60) > 30)
    toy = run(1, mask=mask)
    spectrum = toy.to_spectrum_dataset(REGION)
    inside = IMAGE.region_mask(REGION).data
    assert spectrum.mask_safe.data.ravel().tolist() == [False, True, True]
    np.testing.assert_allclose(
        spectrum.counts.data.ravel(), np.where(mask, toy.counts.data, 0)[:, inside].sum(axis=1)
    )


def test_spectrum_of_a_point() -> None:
    toy = run(1)
    spectrum = toy.to_spectrum_dataset(SkyCoord(0.02, 0.03, unit="deg", frame="galactic"))
    assert spectrum.counts.data.ravel().tolist() == toy.counts.data[:, 20, 29].tolist()


def test_spectrum_needs_what_it_says() -> None:
    with pytest.raises(DataError, match="no pixel of"):
        run(1).to_spectrum_dataset("galactic;circle(50, 0, 0.3)")
    with pytest.raises(DataError, match="needs a circle, found 'box'"):
        run(1).to_spectrum_dataset("galactic;box(0, 0, 1, 1)", containment_correction=True)
    with pytest.raises(DataError, match="needs a PSFMap as psf, found none"):
        run(1, psf=None).to_spectrum_dataset(REGION, containment_correction=True)


def test_spectrum_of_on_off_counts() -> None:
    toy = onoff_dataset()
    spectrum = toy.to_spectrum_dataset(REGION)
    n = IMAGE.region_mask(REGION).data.sum()
    assert isinstance(spectrum, SpectrumDatasetOnOff)
    assert spectrum.counts_off.data.ravel().tolist() == [4 * n, 2 * n, 0]
    assert spectrum.acceptance.data.ravel().tolist() == [n, n, n]
    np.testing.assert_allclose(spectrum.background.data.ravel(), [0.8 * n, 0.5 * n, 0])


def test_one_response_for_all_is_kept_by_cutouts() -> None:
    part = run(1).cutout(CENTER, 1 * u.deg)
    assert isinstance(part.psf, PSFMap)
    assert isinstance(part.psf.psf_map.geom, RegionGeom)


def test_kernels_as_responses() -> None:
    kernel = PSFKernel.from_gauss(IMAGE.to_cube([SAME_TRUE]), sigma=0.1 * u.deg)
    toy = dataset(psf=kernel, edisp=edisp(SAME_TRUE).get_edisp_kernel(), models=[gauss()])
    toy.mask_safe = GEOM.energy_mask(energy_min=2 * u.TeV)
    npred = toy.npred_signal().data
    others = {
        "copy": (toy.copy(), npred),
        "energies": (toy.slice_by_idx({"energy": slice(0, 2)}), npred[:2]),
        "image": (toy.to_image(), npred[1:].sum(axis=0)),
        "cutout": (toy.cutout(CENTER, (2, 1.5) * u.deg), npred[:, 5:35, 10:50]),
        "masked": (toy.to_masked(), np.where(toy.mask_safe.data, npred, 0)),
    }
    for key, (other, expected) in others.items():
        other.models = [gauss()]
        total = other.npred_signal().data
        np.testing.assert_allclose(np.squeeze(total), expected, rtol=1e-3, atol=1e-6, err_msg=key)
    assert toy.slice_by_idx({"energy_true": slice(0, 2)}).psf.data.shape[0] == 2
    with pytest.raises(DataError, match="a PSFKernel is for pixels of one size"):
        toy.downsample(2)
    with pytest.raises(DataError, match="expected a map as psf of 'toy', found PSFKernel"):
        toy.stack(toy.copy(name="other"))


def test_stacked_backgrounds_are_the_scaled_ones():
    """What was scaled to each run stays scaled in their sum, in every way to stack."""
    first, second = run(0), run(1)
    raw = [d.background.data.copy() for d in (first, second)]
    for d, norm in ((first, 2.0), (second, 3.0)):
        model = FoVBackgroundModel(dataset_name=d.name)
        model.spectral_model.norm.value = norm
        d.models = [model, *([point()] if d is first else [])]
    expected = 2 * raw[0] + 3 * raw[1]
    np.testing.assert_allclose(Datasets([first, second]).stack_reduce().background.data, expected)
    table = Datasets([first, second]).info_table(cumulative=True)
    np.testing.assert_allclose(table["background"], [2 * raw[0].sum(), expected.sum()])
    np.testing.assert_array_equal(first.background.data, raw[0])
    # Its own model isn't applied to the sum.
    first.stack(second)
    np.testing.assert_allclose(first.background.data, expected)
    np.testing.assert_allclose(first.npred_background().data, expected)
    assert first.background_model is None
    assert len(first.models) == 1
    np.testing.assert_array_equal(second.background.data, raw[1])
