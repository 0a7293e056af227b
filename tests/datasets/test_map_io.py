"""Files of cubes: what is written is read, in Gammapy's layout, and damage is named."""

from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from map_dataset_toys import (
    AREA_TIME,
    AXIS,
    AXIS_TRUE,
    GEOM,
    IMAGE,
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
from villard.datasets import Datasets, MapDataset, MapDatasetOnOff
from villard.exceptions import ConfigError, DataError, FileFormatError, OverwriteError
from villard.irf import EDispKernelMap, EDispMap, PSFKernel, PSFMap
from villard.maps import Map, MapAxis
from villard.modeling.models import FoVBackgroundModel, Models

COARSE = IMAGE.to_binsz(0.5)


def full(**kwargs: Any) -> MapDataset:
    parts = {
        "counts": cube(np.arange(3)[:, np.newaxis, np.newaxis]),
        "exposure": exposure(AXIS_TRUE),
        "psf": psf(AXIS_TRUE, geom=COARSE),
        "edisp": edisp(geom=COARSE),
        "mask_safe": GEOM.energy_mask(energy_min=2 * u.TeV),
        "mask_fit": GEOM.region_mask("galactic;circle(0, 0, 0.9)"),
        "gti": GTI.create([0, 2] * u.h, [1, 3] * u.h),
        "meta_table": Table({"OBS_ID": [1, 2]}),
        "stat_type": "cstat",
        "name": "full",
    }
    return dataset(**(parts | kwargs))


def test_round_trip(tmp_path: Path) -> None:
    toy = full()
    toy.write(tmp_path / "toy.fits")
    again = MapDataset.read(tmp_path / "toy.fits")
    assert (again.name, again.stat_type, again.livetime) == ("full", "cstat", 100 * u.s)
    for key in ("counts", "background", "exposure", "mask_safe", "mask_fit"):
        assert getattr(again, key).is_allclose(getattr(toy, key)), key
        assert getattr(again, key).unit == getattr(toy, key).unit
    assert again.mask_safe.is_mask
    assert again.gti.time_sum == 2 * u.h
    assert again.meta_table["OBS_ID"].tolist() == [1, 2]
    toy.models = again.models = [gauss(), FoVBackgroundModel(dataset_name="full")]
    np.testing.assert_allclose(again.npred().data, toy.npred().data, rtol=1e-9, atol=1e-12)
    assert again.stat_sum() == pytest.approx(toy.stat_sum(), rel=1e-12)
    assert MapDataset.read(tmp_path / "toy.fits", name="other").name == "other"


def test_layout(tmp_path: Path) -> None:
    full().write(tmp_path / "toy.fits")
    with fits.open(tmp_path / "toy.fits") as hdulist:
        names = [hdu.name for hdu in hdulist if not hdu.name.endswith("_BANDS")]
    expected = "PRIMARY COUNTS BACKGROUND MASK_SAFE MASK_FIT EXPOSURE PSF EDISP GTI META_TABLE"
    assert names == expected.split()


@pytest.mark.parametrize("kind", ["migra", "kernel"])
def test_other_energy_dispersions(tmp_path: Path, kind: str) -> None:
    if kind == "migra":
        axis = MapAxis.from_bounds(0, 3, nbin=60, name="migra")
        response: Any = EDispMap.from_gauss(AXIS_TRUE, axis, sigma=0.2, geom=COARSE)
    else:
        response = edisp().get_edisp_kernel()
    toy = full(edisp=response, models=[gauss()])
    toy.write(tmp_path / "toy.fits")
    again = MapDataset.read(tmp_path / "toy.fits")
    again.models = [gauss()]
    assert isinstance(again.edisp, EDispMap) == (kind == "migra")
    np.testing.assert_allclose(again.npred().data, toy.npred().data, rtol=1e-9, atol=1e-12)


def test_a_kernel_has_no_place_in_the_file(tmp_path: Path) -> None:
    toy = full(psf=PSFKernel.from_gauss(IMAGE.to_cube([AXIS_TRUE]), sigma=0.1 * u.deg))
    assert toy.psf is not None
    with pytest.raises(DataError, match="'full': a PSFKernel can't be written"):
        toy.write(tmp_path / "toy.fits")
    assert not (tmp_path / "toy.fits").exists()


def test_existing_files_are_kept(tmp_path: Path) -> None:
    toy = full()
    toy.write(tmp_path / "toy.fits")
    with pytest.raises(OverwriteError):
        toy.write(tmp_path / "toy.fits")
    toy.write(tmp_path / "toy.fits", overwrite=True)


def test_datasets_of_cubes(tmp_path: Path) -> None:
    first, second = full(name="one"), onoff_dataset(name="two", mask_fit=cube(True))
    datasets = Datasets([first, second])
    datasets.models = Models([gauss(), FoVBackgroundModel(dataset_name="one")])
    datasets.write(tmp_path / "datasets.yaml", filename_models=tmp_path / "models.yaml")
    again = Datasets.read(tmp_path / "datasets.yaml", filename_models=tmp_path / "models.yaml")
    assert again.names == ["one", "two"]
    assert [type(d) for d in again] == [MapDataset, MapDatasetOnOff]
    assert again.stat_sum() == pytest.approx(datasets.stat_sum(), rel=1e-12)
    assert again.info_table()["counts"].tolist() == datasets.info_table()["counts"].tolist()


def test_fermi_lat_crab(gammapy_data: Path) -> None:
    folder = gammapy_data / "fermi-3fhl-crab"
    datasets = Datasets.read(
        folder / "Fermi-LAT-3FHL_datasets.yaml", filename_models=folder / "Fermi-LAT-3FHL_models.yaml"
    )
    assert datasets["Fermi-LAT"].models.names == ["Crab Nebula", "Fermi-LAT-bkg"]
    assert datasets["Fermi-LAT"].counts.data.sum() == 3004


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "toy.fits"
    with pytest.raises(DataError, match="not found"):
        MapDataset.read(path)
    full().write(path)
    with pytest.raises(DataError, match="Unknown format 'ogip' of a MapDataset"):
        MapDataset.read(path, format="ogip")
    with fits.open(path) as hdulist:
        content = fits.HDUList([hdu.copy() for hdu in hdulist])
    without = fits.HDUList([hdu for hdu in content if hdu.name != "COUNTS"])
    without.writeto(tmp_path / "without.fits")
    with pytest.raises(FileFormatError, match="expected an extension COUNTS"):
        MapDataset.read(tmp_path / "without.fits")
    content["EXPOSURE"].data[0, 3, 4] = np.nan
    content.writeto(tmp_path / "nan.fits")
    with pytest.raises(DataError, match=r"nan.fits: Dataset 'full': exposure: .* 1 value"):
        MapDataset.read(tmp_path / "nan.fits")
    content["EXPOSURE"].data[0, 3, 4] = AREA_TIME
    content["EXPOSURE"].header["META"] = '{"livetime": "long"}'
    del content[0].header["LIVETIME"]
    content.writeto(tmp_path / "livetime.fits")
    with pytest.raises(FileFormatError, match="expected a time as livetime, found 'long'"):
        MapDataset.read(tmp_path / "livetime.fits")
    (tmp_path / "cut.fits").write_bytes(path.read_bytes()[:50000])
    with pytest.raises(FileFormatError, match=r"cut.fits"):
        MapDataset.read(tmp_path / "cut.fits")


def test_unknown_keys_of_yaml(tmp_path: Path) -> None:
    (tmp_path / "datasets.yaml").write_text(
        "datasets:\n- {name: a, type: MapDataset, filename: a.fits, grouping: true}\n"
    )
    with pytest.raises(ConfigError, match="unknown key 'grouping'"):
        Datasets.read(tmp_path / "datasets.yaml")


def test_axes_of_the_file_are_those_of_the_data(tmp_path: Path) -> None:
    full().write(tmp_path / "toy.fits")
    again = MapDataset.read(tmp_path / "toy.fits")
    assert again.geom == GEOM
    assert again.geom.axes["energy"].is_aligned_with(AXIS)
    assert again.exposure.geom.axes["energy_true"].is_aligned_with(AXIS_TRUE)


def test_cube_of_files_of_the_fermi_tools(gammapy_data: Path) -> None:
    folder = gammapy_data / "fermi-3fhl-gc"
    packed = MapDataset.read(folder / "fermi-3fhl-gc.fits.gz")
    counts = Map.read(folder / "fermi-3fhl-gc-counts-cube.fits.gz")
    exposure = Map.read(gammapy_data / "fermi_3fhl" / "fermi_3fhl_exposure_cube_hpx.fits.gz")
    with pytest.raises(DataError, match=r"found HpxNDMap. Use interp_to_geom first"):
        MapDataset(counts=counts, exposure=exposure)
    axis = counts.geom.axes["energy"].copy(name="energy_true")
    exposure = exposure.interp_to_geom(counts.geom.to_image().to_cube([axis]))
    psf = PSFMap.read(folder / "fermi-3fhl-gc-psf-cube.fits.gz", format="gtpsf")
    edisp = EDispKernelMap.from_diagonal_response(counts.geom.axes["energy"], axis)
    made = MapDataset(counts=counts, exposure=exposure, psf=psf, edisp=edisp, name="made")
    assert np.array_equal(made.counts.data, packed.counts.data)
    made.models = [point(0.0, 0.0, amplitude=1e-12, index=2.5)]
    position = made.models["point"].spatial_model.position
    at_source = exposure.get_by_coord({"skycoord": position, "energy_true": axis.center})
    expected = flux(axis, index=2.5) * at_source
    np.testing.assert_allclose(made.npred().data.sum(axis=(1, 2)), expected, rtol=5e-3)
    # The energy dispersion of the packed cube shares bins that overlap in part by their widths.
    packed.models = [point(0.0, 0.0, amplitude=1e-12, index=2.5)]
    np.testing.assert_allclose(packed.npred_signal().data.sum(axis=(1, 2)), expected, rtol=0.07)
