"""Analytic responses: their formulas, normalisation, files, and the real ones that they follow."""

import astropy.units as u
import numpy as np
import pytest

from villard.exceptions import DataError
from villard.irf import load_irf_dict_from_file, make_analytic_irfs
from villard.irf.analytic import (
    analytic_background,
    analytic_effective_area,
    analytic_energy_resolution,
    analytic_psf_width,
)
from villard.maps import MapAxis

PROD5 = "cta-caldb/Prod5-South-20deg-AverageAz-14MSTs37SSTs.180000s-v0.1.fits.gz"


@pytest.fixture(scope="module")
def irfs():
    return make_analytic_irfs()


def test_values_of_the_tables(irfs):
    energy = irfs["aeff"].axes["energy_true"].center[15]
    tev = float(energy.to_value("TeV"))
    for offset in (0.0, 2.0, 4.5):
        area = irfs["aeff"].evaluate(energy_true=energy, offset=offset * u.deg)
        assert area.to_value("m2") == pytest.approx(analytic_effective_area(tev, offset))
        rate = irfs["bkg"].evaluate(energy=energy, fov_lon=offset * u.deg, fov_lat=0.15 * u.deg)
        wanted = analytic_background(tev, np.hypot(offset, 0.15))
        assert rate.to_value("s-1 TeV-1 sr-1") == pytest.approx(wanted, rel=0.02)
    radius = irfs["psf"].containment_radius(0.68, energy, 1 * u.deg).to_value("deg")
    # One Gaussian has 1.51 sigma; the wider one adds a little.
    assert 1.5 < radius / analytic_psf_width(tev, 1.0) < 1.8


def test_normalisation(irfs):
    edisp, psf = irfs["edisp"], irfs["psf"]
    true = edisp.axes["energy_true"].center[[5, 20, 35]]
    density = edisp.evaluate(energy_true=true[:, None], migra=edisp.axes["migra"].center, offset=1 * u.deg)
    widths = edisp.axes["migra"].bin_width.value
    assert np.sum(density.value * widths, axis=1) == pytest.approx(1, abs=1e-4)
    mean = np.sum(density.value * widths * edisp.axes["migra"].center.value, axis=1)
    assert mean == pytest.approx(1 + analytic_energy_resolution(true.to_value("TeV"))[1], abs=1e-3)
    theta = np.concatenate([[0], np.geomspace(1e-4, 5, 4000)])
    values = psf.evaluate(energy_true=1 * u.TeV, offset=0 * u.deg, rad=theta * u.deg).to_value("sr-1")
    rings = values * 2 * np.pi * np.sin(np.radians(theta))
    assert np.sum(0.5 * (rings[1:] + rings[:-1]) * np.diff(np.radians(theta))) == pytest.approx(1, abs=1e-3)


def test_widths_of_logarithmic_bins():
    """The widths of all bins make up the axis, also where its nodes are given."""
    for axis in (
        MapAxis.from_nodes(np.geomspace(0.1, 100, 61) * u.TeV, name="energy", interp="log"),
        make_analytic_irfs()["bkg"].axes["energy"],
    ):
        first, last = axis.edges[[0, -1]]
        assert axis.bin_width.sum().to_value("TeV") == pytest.approx((last - first).to_value("TeV"))
        # The width of a bin is nowhere near its node times the ratio of nodes.
        ratio = (axis.center[1] / axis.center[0]).to_value("")
        wanted = axis.center.to_value("TeV") * (ratio**0.5 - ratio**-0.5)
        assert axis.bin_width.to_value("TeV") == pytest.approx(wanted, rel=1e-9)


def test_files(irfs, tmp_path):
    from astropy.io import fits

    hdus = [table.to_table_hdu() for table in irfs.values()]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "irfs.fits")
    again = load_irf_dict_from_file(tmp_path / "irfs.fits")
    assert {key: type(value) for key, value in again.items()} == {k: type(v) for k, v in irfs.items()}
    assert again["aeff"].data == pytest.approx(irfs["aeff"].data)


def test_they_follow_the_real_ones(irfs, gammapy_data):
    real = load_irf_dict_from_file(gammapy_data / PROD5)
    energy = np.geomspace(0.08, 80, 13) * u.TeV
    for offset in (0.5, 1.5, 2.5):
        pairs = [
            [table["aeff"].evaluate(energy_true=energy, offset=offset * u.deg).to_value("m2"), 1.8]
            for table in (real, irfs)
        ]
        pairs += [
            [
                table["bkg"]
                .evaluate(energy=energy[:10], fov_lon=offset * u.deg, fov_lat=0 * u.deg)
                .to_value("s-1 TeV-1 sr-1"),
                2.0,
            ]
            for table in (real, irfs)
        ]
        pairs += [
            [table["psf"].containment_radius(0.68, energy, offset * u.deg).to_value("deg"), 1.5]
            for table in (real, irfs)
        ]
        for (first, limit), (second, _) in zip(pairs[::2], pairs[1::2], strict=True):
            assert np.max(np.abs(np.log(second / first))) < np.log(limit)


def test_wrong_input():
    for settings in ({"energy_min": 2 * u.TeV, "energy_max": 1 * u.TeV}, {"nbin_per_decade": 0}):
        with pytest.raises(DataError, match="Analytic responses"):
            make_analytic_irfs(**settings)
