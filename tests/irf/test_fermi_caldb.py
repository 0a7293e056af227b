"""Responses of the Fermi-LAT beside what the Fermi tools print."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest

from villard.irf import FermiEffectiveArea, FermiLivetime, FermiResponse

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "fermi_catalog.json").read_text())
ENERGY = 10 ** np.linspace(1, 6, 6) * u.MeV
BINS = [0.2, 0.6, 1.0]


def expected(key):
    return np.array(REFERENCE[key]["expected"]), REFERENCE[key]["rtol"]


@pytest.fixture(scope="module")
def folder(gammapy_data):
    return Path(gammapy_data) / "fermi-extra" / "caldb"


@pytest.fixture(scope="module")
def response(folder):
    return FermiResponse.read(folder, "P8R2_SOURCE_V6")


@pytest.fixture(scope="module")
def livetime():
    return FermiLivetime.isotropic(3.1536e8 * u.s)


def test_exposure(response, livetime):
    values, rtol = expected("irf.calc_exp")
    np.testing.assert_allclose(response.exposure(ENERGY, livetime, BINS).to_value("cm2 s"), values, rtol=rtol)


def test_psf(response, livetime):
    values, rtol = expected("irf.avg_psf")
    found = response.average_psf([0, 1] * u.deg, ENERGY, livetime, BINS)
    np.testing.assert_allclose(found.to_value("sr-1"), values, rtol=rtol)


def test_psf_over_all_inclinations(response, livetime):
    """The published numbers are interpolated between 400 angles, but for the first, which is a node."""
    values, _ = expected("irf.psfmodel.eval0")
    found = response.average_psf([0, 0.5, 1, 2] * u.deg, [100] * u.MeV, livetime, [0.2, 1.0])[:, 0, 0]
    assert found[0].value == pytest.approx(values[0], rel=1e-9)
    np.testing.assert_allclose(found.to_value("sr-1"), values, rtol=5e-5)


def test_energy_dispersion(response, livetime):
    """To 1e-7 for the first bin; in the second, beyond the table's last cosine, something differs."""
    values, rtol = expected("irf.avg_edisp")
    energy = 10 ** np.linspace(3, 4, 6) * u.MeV
    found = response.average_edisp(energy, [10**3.5] * u.MeV, livetime, BINS)[:, 0].to_value("MeV-1")
    # The published table has zeros for ratios of energies beyond 3.
    inside = np.abs(np.log(energy.value / 10**3.5)) < np.log(3)
    assert np.all(values[~inside] == 0)
    np.testing.assert_allclose(found[inside, 0], values[inside, 0], rtol=rtol)
    np.testing.assert_allclose(found[inside, 1], values[inside, 1], rtol=1e-3, atol=1e-10)


def test_densities_are_normalised(response):
    energy = [0.1, 1, 30] * u.GeV
    rad = np.concatenate([[0], np.geomspace(1e-4, 89, 4000)])
    psf = response.psf[0](rad[:, np.newaxis] * u.deg, energy, 0.9).to_value("sr-1")
    weight = 2 * np.pi * np.sin(np.radians(rad))[:, np.newaxis]
    integral = np.trapezoid(psf * weight, np.radians(rad), axis=0)
    assert np.all(np.abs(integral - 1) < [2e-3, 2e-4, 2e-4])
    measured = np.geomspace(0.02, 200, 20000) * u.GeV
    edisp = response.edisp[1](measured[:, np.newaxis], energy[1:], 0.8).to_value("MeV-1")
    integral = np.trapezoid(edisp, measured.to_value("MeV"), axis=0)
    np.testing.assert_allclose(integral, 1, rtol=5e-3)


def test_efficiency(response):
    """Near the mean livetime fraction it is about 1, continuous in energy, and falls as time is lost."""
    energy = np.geomspace(0.03, 300, 2001) * u.GeV
    values = response.aeff[0].efficiency(energy, 0.9)
    assert np.all(np.abs(values - 1) < 0.1)
    assert np.max(np.abs(np.diff(values))) < 5e-3
    assert np.all(response.aeff[0].efficiency(energy, 0.8) < values)


def test_psf_map(response, livetime):
    energy, rad = [0.3, 1, 3, 10] * u.GeV, np.linspace(0, 10, 200) * u.deg
    psf = response.psf_map(energy, rad, livetime)
    assert psf.containment_radius(0.68, energy_true=1 * u.GeV).to_value("deg") == pytest.approx(
        0.84, abs=0.05
    )


def test_bad_input(folder, response, livetime):
    with pytest.raises(ValueError, match=r"no extension EFFECTIVE AREA_PSF0; event types in it: FRONT, BACK"):
        FermiEffectiveArea.read(folder / "aeff_P8R2_SOURCE_V6_FB.fits", "PSF0")
    with pytest.raises(ValueError, match=r"aeff_P8R3_SOURCE_V3_FB.fits was not found"):
        FermiResponse.read(folder, "P8R3_SOURCE_V3")
    with pytest.raises(ValueError, match="increasing edges"):
        response.exposure(ENERGY, livetime, [1.0, 0.2])
    with pytest.raises(ValueError, match="cosines must be"):
        response.aeff[0](1 * u.GeV, 1.2)
