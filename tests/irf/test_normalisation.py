"""Responses evaluated anywhere integrate to what they should."""

import astropy.units as u
import numpy as np
import pytest

from villard.exceptions import FileFormatError
from villard.irf import PSF3D, EffectiveAreaTable2D, RadMax2D, load_irf_dict_from_file
from villard.irf.fov import background_rate, observation_frames
from villard.likelihood.event_response import MigraDensity, cell_weights, energy_nodes, node_weights

FILES = [
    "hess-dl3-dr1/data/hess_dl3_dr1_obs_id_023523.fits.gz",
    "cta-1dc/caldb/data/cta/1dc/bcf/South_z20_50h/irf_file.fits",
    "cta-caldb/Prod5-South-20deg-SouthAz-14MSTs37SSTs.18000s-v0.1.fits.gz",
]


@pytest.mark.parametrize("file", FILES)
def test_public_responses(gammapy_data, file):
    irfs = load_irf_dict_from_file(gammapy_data / file)
    edisp, psf = irfs["edisp"], irfs["psf"]
    true, offset = edisp.axes["energy_true"].center, edisp.axes["offset"].center
    between = np.sqrt(true[1:] * true[:-1])[::7]
    density = edisp.densities(between, np.linspace(offset[0], offset[-1], 5))
    total = np.sum(density * edisp.axes["migra"].bin_width.value[:, np.newaxis], axis=1)
    seen = total > 0
    assert seen.mean() > 0.5
    np.testing.assert_allclose(total[seen], 1, rtol=1e-9)
    # Of the densities between energies, too, in any reconstructed energy.
    kernel = edisp.to_edisp_kernel(1.2 * u.deg)
    assert np.all(kernel.pdf_matrix.sum(axis=1) < 1 + 1e-9)
    energies = psf.axes["energy_true"].center
    tables = psf.radial_tables(np.sqrt(energies[1:] * energies[:-1]), np.full(len(energies) - 1, 1.2) * u.deg)
    integrals = np.array([table.integral for table in tables])
    np.testing.assert_allclose(integrals[integrals > 0], 1, rtol=1e-9)
    assert np.sum(integrals > 0) > 10


def test_density_of_migra_integrates_to_one():
    rng = np.random.default_rng(1)
    edges = np.linspace(0.2, 3, 57)
    values = np.exp(-0.5 * ((0.5 * (edges[1:] + edges[:-1]) - 1) / 0.2) ** 2) + 0.1 * rng.random((3, 56))
    table = MigraDensity(edges, values)
    x = np.linspace(0.2, 3, 200001)
    for row in range(3):
        assert np.trapezoid(table.density(row, x), x) == pytest.approx(1, abs=1e-8)
        # The sum is the integral.
        np.testing.assert_allclose(
            table.below(row, x[::20000]),
            [np.trapezoid(table.density(row, x[: i + 1]), x[: i + 1]) for i in range(0, 200001, 20000)],
            atol=1e-8,
        )
    nodes, shares = energy_nodes(np.array([1.0, 1.1, 1.2, 1.3]))
    energy = np.geomspace(0.2, 5, 40001)
    density = table.at_energies(nodes, shares, energy)
    np.testing.assert_allclose(np.trapezoid(density, energy, axis=1), 1, atol=3e-5)
    np.testing.assert_allclose(table.in_bins(nodes, shares, np.array([0.1, 1, 6])).sum(axis=1), 1, atol=1e-12)


def test_interpolation_is_exact_for_cubics():
    edges = np.arange(13.0) - 0.5
    means = np.diff(edges**4 / 4 - 2 * edges**2) / np.diff(edges)
    x = np.array([-0.3, 0.2, 3.7, 6.0, 11.4])
    cells, weights = cell_weights(x, 12)
    np.testing.assert_allclose(np.sum(means[cells] * weights, axis=1), x**3 - 4 * x, rtol=1e-9, atol=1e-9)
    nodes = np.linspace(0, 10, 12)
    index, shares = node_weights(x, nodes)
    np.testing.assert_allclose(np.sum((nodes**3)[index] * shares, axis=1), x**3, rtol=1e-9, atol=1e-9)


def test_wrong_class_is_told(gammapy_data):
    path = gammapy_data / FILES[0]
    with pytest.raises(FileFormatError, match="expected a table of the class PSF_TABLE, found AEFF_2D"):
        PSF3D.read(path, hdu="AEFF")
    with pytest.raises(FileFormatError, match="expected responses"):
        load_irf_dict_from_file(gammapy_data / "cta-1dc/data/baseline/gps/gps_baseline_110380.fits")


def test_fixed_radius():
    from villard.maps import MapAxis

    true = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
    offset = MapAxis.from_nodes([0, 2] * u.deg, name="offset")
    aeff = EffectiveAreaTable2D([true, offset], np.ones((2, 2)) * u.m**2, meta={"RAD_MAX": 0.14})
    rad_max = RadMax2D.from_irf(aeff)
    assert rad_max.is_fixed_rad_max
    assert rad_max.evaluate(energy=3 * u.TeV, offset=1 * u.deg).to_value("deg") == pytest.approx(0.14)


def test_background_along_altitude_and_azimuth():
    """Seen from the pole, the field of view turns by 15 deg per hour and the average is known."""
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time

    from villard.irf import Background3D
    from villard.maps import MapAxis

    energy = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    lon, lat = (
        MapAxis.from_bounds(-3 * u.deg, 3 * u.deg, nbin=60, name=name) for name in ("fov_lon", "fov_lat")
    )
    data = np.exp(0.5 * lon.center.value)[:, np.newaxis] * np.ones((1, 60, 60))
    bkg = Background3D([energy, lon, lat], data, "s-1 TeV-1 sr-1", meta={"FOVALIGN": "ALTAZ"})
    location = EarthLocation.from_geodetic(16.5, -23.3, 1800)
    pointing, start = SkyCoord(83.6, 22, unit="deg"), Time("2004-12-04T22:08:10", scale="utc")
    frames = observation_frames(pointing, start, start + 2 * u.h, location)
    assert len(frames) > 5
    place = SkyCoord(83.6, 23, unit="deg")
    rate = background_rate(bkg, pointing, 3 * u.TeV, place, frames)
    expected = []
    for frame in frames:
        assert isinstance(frame, AltAz)
        center = pointing.transform_to(frame)
        angle = center.position_angle(place.transform_to(frame)).rad
        expected.append(np.exp(0.5 * np.sin(angle)))
    assert float(rate) == pytest.approx(np.mean(expected), rel=2e-3)
