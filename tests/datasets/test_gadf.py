import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from dataset_toys import AXIS, REGION, as_map, onoff_dataset, power_law, spectrum_dataset
from numpy.testing import assert_allclose

from villard.data.gti import GTI
from villard.datasets import SpectrumDataset, SpectrumDatasetOnOff
from villard.exceptions import DataError, FileFormatError, OverwriteError
from villard.maps import RegionGeom, RegionNDMap


def full_dataset():
    region = RegionGeom(REGION, axes=[AXIS])
    return spectrum_dataset(
        counts=RegionNDMap(region, data=[5.5, 3, 2, 1]),
        mask_safe=as_map([False, True, True, True]),
        mask_fit=as_map([True, True, True, False]),
        gti=GTI.create([0] * u.s, [100] * u.s),
        stat_type="cstat",
    )


def test_spectrum_dataset_comes_back(tmp_path):
    dataset = full_dataset()
    dataset.write(tmp_path / "x.fits")
    copy = SpectrumDataset.read(tmp_path / "x.fits")
    dataset.models = copy.models = power_law()
    assert (copy.name, copy.stat_type, copy.livetime) == ("toy", "cstat", 100 * u.s)
    for name in ("counts", "background", "exposure", "mask_safe", "mask_fit"):
        assert_allclose(getattr(copy, name).data, getattr(dataset, name).data, err_msg=name)
    assert copy.mask_safe.is_mask
    assert_allclose(copy.stat_sum(), dataset.stat_sum(), rtol=1e-13)
    assert copy.gti.time_sum == 100 * u.s
    assert copy.counts.geom == dataset.counts.geom
    assert SpectrumDataset.read(tmp_path / "x.fits", name="mine").name == "mine"


def test_fractional_counts_of_on_off_data(tmp_path):
    dataset = onoff_dataset(counts=[1.5, 2.5, 0, 1], models=power_law())
    dataset.write(tmp_path / "x.fits.gz", format="gadf")
    copy = SpectrumDatasetOnOff.read(tmp_path / "x.fits.gz")
    copy.models = power_law()
    assert_allclose(copy.stat_sum(), dataset.stat_sum(), rtol=1e-13)
    assert copy.counts.data.ravel().tolist() == [1.5, 2.5, 0, 1]


def test_parts_that_arent_there(tmp_path):
    SpectrumDataset(counts=as_map([1.0, 2, 3, 4]), name="bare").write(tmp_path / "x.fits")
    copy = SpectrumDataset.read(tmp_path / "x.fits")
    assert copy.exposure is copy.edisp is copy.background is copy.gti is copy.mask is None
    assert np.isnan(copy.livetime)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "x.fits"
    full_dataset().write(path)
    with pytest.raises(OverwriteError, match=r"x.fits"):
        full_dataset().write(path)
    with pytest.raises(DataError, match="Unknown format 'ogip' of a SpectrumDataset"):
        SpectrumDataset.read(path, format="ogip")
    with pytest.raises(DataError, match="Unknown format 'ogip' of a SpectrumDataset"):
        full_dataset().write(path, format="ogip", overwrite=True)
    with fits.open(path, mode="update", memmap=False) as hdulist:
        hdulist[0].header["LIVETIME"] = "long"
    with pytest.raises(FileFormatError, match=r"x.fits: expected a number as keyword LIVETIME, found 'long'"):
        SpectrumDataset.read(path)
    with fits.open(path, mode="update", memmap=False) as hdulist:
        del hdulist[0].header["LIVETIME"]
        hdulist["COUNTS"].data["DATA"][1] = -1
    with pytest.raises(DataError, match=r"x.fits: Dataset 'toy': counts: values can't be negative"):
        SpectrumDataset.read(path)
    with fits.open(path, mode="update", memmap=False) as hdulist:
        hdulist["COUNTS"].name = "NUMBERS"
    with pytest.raises(FileFormatError, match=r"x.fits: expected an extension COUNTS, found"):
        SpectrumDataset.read(path)
    with pytest.raises(DataError, match="plain"):
        spectrum_dataset(name="Größe").write(tmp_path / "y.fits")
