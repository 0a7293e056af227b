"""The separable contraction against GammaBayes' numbers and an independent integral.

``reference/event_mixture.npz`` holds a part of a run of GammaBayes 0.1.9, its tutorial "single observation
hyperparameter inference": densities and norms around the pointing, the marginal likelihoods of the events
there, and those of all events in single precision.
"""

from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from villard.bayes import TrueGrid, contract_energy, contract_space
from villard.bayes.contraction import separation
from villard.exceptions import DataError
from villard.irf import load_irf_dict_from_file

REFERENCE = Path(__file__).parents[1] / "reference" / "event_mixture.npz"
PROD5 = "cta-caldb/Prod5-South-20deg-SouthAz-14MSTs37SSTs.18000s-v0.1.fits.gz"


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def prod5(gammapy_data: Path) -> dict[str, Any]:
    return load_irf_dict_from_file(gammapy_data / PROD5)


def psf_of_tool(table: Any) -> Any:
    """Gaussians with interpolated widths, where the tables have none 1 deg: that tool's PSF, not ours."""
    energy, offset = (
        table.axes[n].center.to_value(unit) for n, unit in (("energy_true", "TeV"), ("offset", "deg"))
    )
    sigma = np.degrees(table.parameters["sigma_1"].to_value("rad"))
    width = RegularGridInterpolator(
        (np.log(energy), offset), np.where(sigma > 0, sigma, 1.0), bounds_error=False, fill_value=None
    )

    def psf(angle: Any, energy_true: Any, offset: Any) -> Any:
        s = width((np.log(energy_true), offset))
        return np.exp(-0.5 * (angle / s) ** 2) / (2 * np.pi * s**2)

    return psf


def edisp_of(table: Any) -> Any:
    def edisp(energy: Any, energy_true: Any, offset: Any) -> Any:
        migra = energy / energy_true * u.one
        return (
            table.evaluate(energy_true=energy_true * u.TeV, migra=migra, offset=offset * u.deg).value
            / energy_true
        )

    return edisp


def reference_grid(reference: dict[str, Any]) -> TrueGrid:
    energy, lon, lat = (reference[f"true_{n}"] for n in ("energy", "lon", "lat"))
    area = (lon[1] - lon[0]) * (lat[1] - lat[0])
    x, y = np.meshgrid(lon[reference["lon_index"]], lat[reference["lat_index"]], indexing="ij")
    # That tool's widths in energy, 14 times too wide: its norms and densities have them too, so they cancel.
    return TrueGrid(energy, x.ravel(), y.ravel(), energy * energy[1] / energy[0], np.full(x.size, area))


def test_marginal_likelihoods_of_gammabayes(reference: dict[str, Any], prod5: dict[str, Any]) -> None:
    grid = reference_grid(reference)
    n_energies = len(grid.energy)
    shapes = np.stack(
        [np.exp(reference[k]).reshape(n_energies, -1) for k in ("CCR", "HESS", "diffuse")]
        + [reference["DM_density"].reshape(n_energies, -1)]
    )
    result = contract_space(
        *reference["events"].T,
        grid,
        shapes,
        edisp_of(prod5["edisp"]),
        psf_of_tool(prod5["psf"]),
        dex=0.5,
        angle=0.5,
        norm=np.exp(reference["log_norm"]).reshape(n_energies, -1),
    )
    for kernel, name in zip(result.kernels, ("CCR", "HESS", "diffuse"), strict=False):
        values = np.log(contract_energy(kernel, grid.energy_weight, np.ones(n_energies)))
        np.testing.assert_allclose(values, reference[f"marg_{name}"], rtol=0, atol=1e-8)
    spectra = np.exp(reference["log_spectra"])
    total = (reference["DM_total"] * grid.energy_weight) @ spectra
    with np.errstate(divide="ignore"):
        values = np.log(contract_energy(result.kernels[3], grid.energy_weight, spectra) / total)
    np.testing.assert_allclose(values, reference["marg_DM"], rtol=0, atol=1e-8)


def test_contraction_of_gaussians_is_a_gaussian() -> None:
    """Response and source are Gaussians, so the integral is one too, with the sum of the variances."""
    energy = np.geomspace(0.1, 10, 201)
    x, y = np.meshgrid(np.arange(-1, 1.001, 0.02), np.arange(-1, 1.001, 0.02), indexing="ij")
    grid = TrueGrid(
        energy, x.ravel(), y.ravel(), energy * np.log(energy[1] / energy[0]), np.full(x.size, 4e-4)
    )

    def normal(t: Any, sigma: float) -> Any:
        return np.exp(-0.5 * (t / sigma) ** 2) / np.sqrt(2 * np.pi) / sigma

    def edisp(energy: Any, energy_true: Any, offset: Any) -> Any:
        return normal(np.log(energy / energy_true), 0.2) / energy

    def psf(angle: Any, energy_true: Any, offset: Any) -> Any:
        return normal(angle, 0.1) * normal(0.0, 0.1) + 0 * energy_true

    shape = normal(grid.lon, 0.15) * normal(grid.lat, 0.15)
    events = np.array([1.0, 1.3]), np.array([0.1, -0.2]), np.array([0.0, 0.15])
    result = contract_space(
        *events, grid, np.broadcast_to(shape, (1, 201, x.size)), edisp, psf, truncation=True
    )
    spectrum = normal(np.log(energy), 0.3) / energy
    found = contract_energy(result.kernels[0], grid.energy_weight, spectrum)
    sigma = np.hypot(0.1, 0.15)
    expected = (
        normal(np.log(events[0]), np.hypot(0.2, 0.3))
        / events[0]
        * normal(events[1], sigma)
        * normal(events[2], sigma)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(result.truncation, 0, atol=1e-12)
    near = contract_space(
        *events,
        grid,
        np.broadcast_to(shape, (1, 201, x.size)),
        edisp,
        psf,
        dex=0.1,
        angle=0.15,
        truncation=True,
    )
    # Within 0.1 dex of a Gaussian of 0.2 in ln E, and 0.15 deg of one of 0.1 deg in each direction.
    from scipy.special import erf

    kept = erf(0.1 * np.log(10) / 0.2 / np.sqrt(2)) * erf(1.5 / np.sqrt(2)) ** 2
    np.testing.assert_allclose(near.truncation, 1 - kept, atol=0.03)


def test_separation_and_bad_shapes() -> None:
    assert separation(359.9, 0.0, 0.1, 0.0) == pytest.approx(0.2, rel=1e-12)
    assert separation(0.0, 90.0, 123.0, 89.0) == pytest.approx(1.0, rel=1e-12)
    grid = TrueGrid(np.ones(2), np.zeros(3), np.zeros(3), np.ones(2), np.ones(3))
    with pytest.raises(DataError, match=r"expected shapes \(n_shapes, 2, 3\), found \(1, 2, 2\)"):
        contract_space(np.ones(1), np.ones(1), np.ones(1), grid, np.ones((1, 2, 2)), None, None)  # type: ignore[arg-type]
