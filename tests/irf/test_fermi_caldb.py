"""Responses of the Fermi-LAT beside what the Fermi tools print."""

import json
from itertools import pairwise
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


ANGLES_100, ANGLES_400 = (np.concatenate([[0], np.logspace(-4, 1.75, n)]) * u.deg for n in (100, 400))
ALL = [0.2, 1.0]


def table_containment(rad, psf):
    """Radius of 68 % as the published numbers have it: trapezoids between the angles of the table."""
    theta = rad.to_value("rad")
    density = 2 * np.pi * np.sin(theta)[:, np.newaxis] * psf
    sums = np.cumsum(np.diff(theta)[:, np.newaxis] * 0.5 * (density[1:] + density[:-1]), axis=0)
    return np.array([np.interp(0.68, column, rad.value[1:]) for column in sums.T])


def test_psf_over_all_inclinations(response, livetime):
    """The published numbers are interpolated in the logarithm between 400 angles and 0."""
    psf = response.average_psf(ANGLES_400, 10 ** np.linspace(2, 6, 17) * u.MeV, livetime, ALL)[..., 0].value
    values, _ = expected("irf.psfmodel.eval0")
    found = np.exp(np.interp([0, 0.5, 1, 2], ANGLES_400.value, np.log(psf[:, 0])))
    np.testing.assert_allclose(found, values, rtol=1e-9)
    exact = response.average_psf([0, 0.5, 1, 2] * u.deg, [100] * u.MeV, livetime, ALL)[:, 0, 0].value
    np.testing.assert_allclose(exact, values, rtol=5e-5)
    values, _ = expected("irf.psfmodel.r68")
    np.testing.assert_allclose(table_containment(ANGLES_400, psf), values, rtol=1e-7)


def separate_averages(response, livetime, rad, edges):
    """PSF in one bin of measured energy from PSF and dispersion that are averaged each by itself.

    32 parts of the bin, 64 true energies per decade, no dispersion by more than a factor of 3, true spectrum
    times exposure integrated as power laws between the edges of the parts.
    """
    all_edges = 10 ** np.linspace(1, 6.5, 64 * 11 // 2 + 1)
    near = (all_edges > edges[0] / 3.2) & (all_edges < edges[1] * 3.2)
    true = all_edges[near]
    center = np.sqrt(true[1:] * true[:-1])
    parts = np.geomspace(*edges, 33)
    measured = np.sqrt(parts[1:] * parts[:-1])
    dispersion = response.average_edisp(measured * u.MeV, center * u.MeV, livetime, ALL)[..., 0].value
    ratio = measured[:, np.newaxis] / center
    dispersion = np.where((ratio < 3) & (ratio > 0.333), dispersion, 0)
    cosines = np.linspace(0.225, 0.975, 16)
    seconds = livetime.between(0.2, 0.25).value
    area = sum(aeff(true[:, np.newaxis] * u.MeV, cosines).value.sum(axis=1) for aeff in response.aeff)
    flux = area * seconds * true**-2.0
    slope = np.log(flux[1:] / flux[:-1]) / np.log(true[1:] / true[:-1]) + 1
    counts = true[:-1] * flux[:-1] * np.expm1(slope * np.log(true[1:] / true[:-1])) / slope
    weights = (np.diff(parts) @ dispersion) * counts
    psf = response.average_psf(rad, center * u.MeV, livetime, ALL)[..., 0].value
    return psf @ weights / weights.sum()


def test_psf_of_measured_energies_as_published(response, livetime):
    """Published r68 are of a coarse table (100 angles) of separate averages; asked 1e-3, found 2e-6."""
    edges = 10 ** np.linspace(1.875, 6.125, 18)
    psf = np.stack(
        [separate_averages(response, livetime, ANGLES_100, pair) for pair in pairwise(edges)], axis=1
    )
    values, _ = expected("irf.psfmodel.edisp.r68")
    np.testing.assert_allclose(table_containment(ANGLES_100, psf), values, rtol=1e-5)
    for name, node in (("irf.psfmodel.edisp.eval0", 0), ("irf.psfmodel.edisp.eval8", 8)):
        found = np.exp(np.interp([0, 0.5, 1, 2], ANGLES_100.value, np.log(psf[:, node])))
        np.testing.assert_allclose(found, expected(name)[0], rtol=2e-6)


def gauss_legendre(edges):
    """Nodes and weights of 24 points in each piece."""
    x, w = np.polynomial.legendre.leggauss(24)
    half = 0.5 * np.diff(edges)[:, np.newaxis]
    return (edges[:-1, np.newaxis] + half * (x + 1)).ravel(), (half * w).ravel()


def contained(response, livetime, radius, edges):
    """Fraction of the events of a bin within a radius, by Gauss-Legendre rules over all variables."""
    low, high = np.log(edges)
    log_true, true_weight = gauss_legendre(np.linspace(low - np.log(3.2), high + np.log(3.2), 16))
    log_measured, measured_weight = gauss_legendre(np.linspace(low, high, 5))
    true, measured = np.exp(log_true), np.exp(log_measured)
    log_angle, angle_weight = gauss_legendre(np.log([1e-4, radius]))
    theta = np.radians(np.exp(log_angle))
    ring = 2 * np.pi * np.sin(theta) * theta * angle_weight
    events, inside = 0.0, 0.0
    for aeff, psf, edisp in zip(response.aeff, response.psf, response.edisp, strict=True):
        for cosine in np.linspace(0.225, 0.975, 16):
            density = edisp(measured[:, np.newaxis] * u.MeV, true * u.MeV, cosine).value
            counts = (
                (measured_weight * measured) @ density * true_weight / true * aeff(true * u.MeV, cosine).value
            )
            events += counts.sum()
            inside += ring @ psf(theta[:, np.newaxis] * u.rad, true * u.MeV, cosine).value @ counts
    return inside / events


def test_psf_of_measured_energies(response, livetime):
    """To 3e-4 as by other rules (the table has kinks); the published radius is 0.3 % larger."""
    edges = 10 ** np.array([3.875, 4.125])
    true = np.geomspace(edges[0] / 3.2, edges[1] * 3.2, 161) * u.MeV
    rad = np.concatenate([[0], np.geomspace(1e-3, 10, 500)]) * u.deg
    psf = response.measured_psf(rad, edges * u.MeV, true, livetime)[:, 0].value
    radius = table_containment(rad, psf[:, np.newaxis])[0]
    assert contained(response, livetime, radius, edges) == pytest.approx(0.68, abs=3e-4)
    published = expected("irf.psfmodel.edisp.r68")[0][8]
    assert published / radius - 1 == pytest.approx(0.003, abs=0.0007)
    # A spectrum that is harder weights the higher true energies, where the PSF is narrower.
    hard = response.measured_psf(
        rad, edges * u.MeV, true, livetime, spectrum=lambda e: u.Quantity(e.value**-1.0)
    )
    assert table_containment(rad, hard.value)[0] < radius


def test_energy_dispersion(response, livetime):
    values, rtol = expected("irf.avg_edisp")
    energy = 10 ** np.linspace(3, 4, 6) * u.MeV
    found = response.average_edisp(energy, [10**3.5] * u.MeV, livetime, BINS)[:, 0].to_value("MeV-1")
    # The published table has zeros for ratios of energies beyond 3.
    inside = np.abs(np.log(energy.value / 10**3.5)) < np.log(3)
    assert np.all(values[~inside] == 0)
    np.testing.assert_allclose(found[inside], values[inside], rtol=rtol)
    # The tables of the calibration go on there: so do ours, with a thousandth of the events.
    measured = np.geomspace(300, 3e4, 4000)
    density = response.average_edisp(measured * u.MeV, [10**3.5] * u.MeV, livetime, BINS)[:, 0].value
    beyond = np.abs(np.log(measured / 10**3.5)) > np.log(3)
    lost = np.trapezoid(np.where(beyond[:, np.newaxis], density, 0), measured, axis=0)
    np.testing.assert_allclose(lost, [1.23e-3, 1.05e-3], rtol=0.01)
    np.testing.assert_allclose(np.trapezoid(density, measured, axis=0), 1, atol=1e-3)


def test_energy_dispersion_on_axis_is_normalised(response):
    """Beyond the last cosine of the table the width goes on to change."""
    measured = np.geomspace(0.02, 200, 20000) * u.GeV
    widths = []
    for cosine in (0.95, 0.975, 1.0):
        density = response.edisp[0](measured, 3 * u.GeV, cosine).to_value("MeV-1")
        assert np.trapezoid(density, measured.to_value("MeV")) == pytest.approx(1, abs=5e-3)
        widths.append(1 / density.max())
    assert widths[0] != pytest.approx(widths[1], rel=1e-3)


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
