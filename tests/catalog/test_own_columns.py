"""Spectra of TeV catalogues beside the integrals that the catalogues themselves give."""

import astropy.units as u
import numpy as np
import pytest

from villard.catalog import read_catalog


@pytest.mark.parametrize(("which", "number"), [("pl", 66), ("ecpl", 12)])
def test_integrals_of_hgps(gammapy_data, which, number):
    ratios = []
    for source in read_catalog("hgps"):
        if str(source.data["Spectral_Model"]).strip().lower() != which:
            continue
        spectrum = source.spectral_model(which)
        # The column has all energies; flat spectra have a little flux above 1e5 TeV.
        flux = spectrum.integral(1 * u.TeV, 1e5 * u.TeV) / source.data[f"Flux_Spec_{which.upper()}_Int_1TeV"]
        eflux = spectrum.energy_flux(1 * u.TeV, 10 * u.TeV) / source.data["Flux_Spec_Energy_1_10_TeV"]
        ratios.append([flux.to_value(""), eflux.to_value("")])
    assert len(ratios) == number
    assert np.all(np.abs(np.array(ratios) - 1) < [4e-3, 5e-5])
    np.testing.assert_allclose(np.median(ratios, axis=0), 1, atol=5e-5)


def test_integrals_of_gamma_cat(gammapy_data):
    ratios: dict[str, list[list[float]]] = {"pl": [], "pl2": [], "ecpl": []}
    for source in read_catalog("gamma-cat"):
        spectrum, row = source.spectral_model(), source.data
        if spectrum is None:
            continue
        values = [
            spectrum.integral(1 * u.TeV, 1e4 * u.TeV) / row["spec_flux_1TeV"],
            spectrum.energy_flux(1 * u.TeV, 10 * u.TeV) / row["spec_eflux_1TeV_10TeV"],
            spectrum(1 * u.TeV) / row["spec_dnde_1TeV"],
        ]
        ratios[str(row["spec_type"])].append([value.to_value("") for value in values])
    assert [len(found) for found in ratios.values()] == [52, 11, 12]
    for found in ratios.values():
        assert np.all(np.abs(np.array(found) - 1) < [2e-4, 5e-5, 2e-7])
