"""Files written here, read by sherpa: the same statistic, whatever the scales and groups."""

import logging

import numpy as np
import pytest
from astropy.io import fits
from dataset_toys import onoff_dataset, power_law
from numpy.testing import assert_allclose

from villard.datasets import SpectrumDatasetOnOff

ui = pytest.importorskip("sherpa.astro.ui", reason="needs sherpa: pip install 'villard[sherpa]'")


@pytest.fixture(autouse=True)
def quiet():
    logger = logging.getLogger("sherpa")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    ui.clean()
    logger.setLevel(level)


def sherpa_stat(path):
    """Return wstat of a power law of index 2 and 1e-11 cm-2 s-1 TeV-1 at 1 TeV (1e-20 per keV)."""
    ui.load_data(str(path))
    ui.set_stat("wstat")
    ui.set_source(ui.powlaw1d.pl)
    model = ui.get_model_component("pl")
    model.ref, model.gamma, model.ampl = 1e9, 2.0, 1e-20
    return ui.calc_stat()


def set_header(path, **values):
    with fits.open(path, mode="update", memmap=False) as hdulist:
        hdulist["SPECTRUM"].header.update(values)


def add_column(path, name, values, format):
    with fits.open(path, memmap=False) as hdulist:
        table = hdulist["SPECTRUM"]
        columns = [*table.columns, fits.Column(name, format, array=values)]
        new = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
        for card in table.header.cards:
            if card.keyword not in new.header and card.keyword != name:
                new.header.append(card)
        fits.HDUList([fits.PrimaryHDU(), new, hdulist["EBOUNDS"].copy()]).writeto(path, overwrite=True)


@pytest.fixture
def pha(tmp_path):
    path = tmp_path / "pha_toy.fits"
    onoff_dataset(counts=[40, 20, 9, 4], counts_off=[4, 10, 0, 2], acceptance=[1, 2, 1, 1]).write(
        path, format="ogip-sherpa"
    )
    return path


def check(pha):
    dataset = SpectrumDatasetOnOff.read(pha)
    dataset.models = power_law(2.0, 1e-11)
    assert_allclose(dataset.stat_sum(), sherpa_stat(pha), rtol=1e-6)


def test_as_written(pha):
    check(pha)


def test_exposure_of_the_background(pha):
    set_header(pha.with_name("bkg_toy.fits"), EXPOSURE=250.0)
    check(pha)


def test_areascal(pha):
    set_header(pha, AREASCAL=0.7)
    set_header(pha.with_name("bkg_toy.fits"), AREASCAL=0.4)
    check(pha)


def test_areascal_per_channel(pha):
    add_column(pha, "AREASCAL", np.array([1.0, 0.9, 0.5, 0.7]), "D")
    check(pha)


def test_quality(pha):
    dataset = onoff_dataset(counts=[40, 20, 9, 4], mask_safe=[False, True, True, False])
    dataset.write(pha, format="ogip-sherpa", overwrite=True)
    ui.load_data(str(pha))
    dataset.models = power_law(2.0, 1e-11)
    sherpa_stat(pha)
    ui.ignore_bad()
    assert_allclose(dataset.stat_sum(), ui.calc_stat(), rtol=1e-6)


def test_grouping(pha):
    for name in ("pha_toy.fits", "bkg_toy.fits"):
        add_column(pha.with_name(name), "GROUPING", np.array([1, -1, 1, -1]), "I")
    # sherpa averages BACKSCAL in a group, we weight it with off counts: equal where it is constant.
    for name, value in (("pha_toy.fits", 1.0), ("bkg_toy.fits", 5.0)):
        with fits.open(pha.with_name(name), mode="update", memmap=False) as hdulist:
            hdulist["SPECTRUM"].data["BACKSCAL"] = value
    check(pha)
    assert SpectrumDatasetOnOff.read(pha).data_shape == (2, 1, 1)


def test_published_spectra(gammapy_data, tmp_path):
    for name in ("hess/pha_obs23523", "fact/pha_stacked", "magic/pha_obs5029747", "veritas/pha_obs54809"):
        dataset = SpectrumDatasetOnOff.read(gammapy_data / "joint-crab" / "spectra" / f"{name}.fits")
        dataset.models = power_law(2.0, 1e-11)
        dataset.write(tmp_path / "pha_copy.fits", format="ogip-sherpa", overwrite=True)
        sherpa_stat(tmp_path / "pha_copy.fits")
        ui.ignore_bad()
        assert_allclose(dataset.stat_sum(), ui.calc_stat(), rtol=1e-6, err_msg=name)
