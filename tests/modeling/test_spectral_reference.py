"""Spectral models, priors and EBL absorption against reference values."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from scipy.integrate import quad

import villard.modeling.models as models
from villard.modeling import prior
from villard.modeling.models import (
    CompoundSpectralModel,
    ConstantSpectralModel,
    EBLAbsorptionNormSpectralModel,
    LogParabolaSpectralModel,
    NaimaSpectralModel,
    PiecewiseNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpectralModel,
    create_crab_spectral_model,
)

ENTRIES = json.loads((Path(__file__).parents[1] / "reference" / "spectral.json").read_text())["entries"]


def entries(*kinds):
    return [pytest.param(e, id=f"{e['id']}-{i}") for i, e in enumerate(ENTRIES) if e["kind"] in kinds]


def check(value, entry):
    np.testing.assert_allclose(value, entry["expected"], rtol=entry["rtol"], atol=entry["atol"])


def _quantity(value):
    """Values stand in the file as [number, unit], as text, or as a number."""
    if isinstance(value, list):
        return value[0] if value[1] == "" else u.Quantity(*value)
    return value


def make_spectrum(entry):
    inputs = entry["inputs"]
    quantities = {k: _quantity(v) for k, v in inputs["parameters"].items()}
    name = inputs["model"] + ("" if inputs["model"].endswith("SpectralModel") else "SpectralModel")
    if name == "TemplateSpectralModel":
        # The table that the entry describes.
        energy = np.geomspace(0.1, 100, 1000) * u.TeV
        power_law = PowerLawSpectralModel(index=2.3, amplitude="4 cm-2 s-1 TeV-1")
        return TemplateSpectralModel(energy, power_law(energy))
    if name == "CompoundSpectralModel":
        part = ConstantSpectralModel if "const" in quantities else PowerLawSpectralModel
        return CompoundSpectralModel(part(**quantities), part(**quantities), "add")
    if name == "PiecewiseNormSpectralModel":
        return PiecewiseNormSpectralModel(
            inputs["energy_nodes_TeV"] * u.TeV, list(quantities.values()), interp=inputs["interp"]
        )
    return getattr(models, name)(**quantities)


def energies(entry):
    return (entry["inputs"].get("energy_TeV") or [1, 10]) * u.TeV


def log_trapezoid(spectrum, low, high, power):
    """The rule behind the reference values: power laws between 100 points per decade."""
    energy = np.geomspace(low, high, int(100 * np.log10(high / low)))
    values = spectrum(energy * u.TeV).value * energy**power
    slope = np.diff(np.log(values)) / np.diff(np.log(energy)) + 1
    products = values * energy
    return np.sum(np.diff(products) / slope)


def check_integral(spectrum, flux, entry, power):
    """Compare with the reference, or show that the reference's quadrature is what differs."""
    low, high = energies(entry).value
    exact = quad(lambda e: e**power * spectrum(e * u.TeV).value, low, high, epsrel=1e-12)[0]
    np.testing.assert_allclose(flux.value, exact, rtol=1e-9)
    if abs(flux.value / entry["expected"] - 1) > entry["rtol"]:
        approximate = log_trapezoid(spectrum, low, high, power)
        np.testing.assert_allclose(approximate, entry["expected"], rtol=entry["rtol"])
        np.testing.assert_allclose(flux.value, entry["expected"], rtol=1e-4)


@pytest.mark.parametrize("entry", entries("spectral_value"))
def test_value(entry):
    energy = u.Quantity(entry["inputs"]["energy"]) if "GeV" in entry["inputs"]["energy"] else 2 * u.TeV
    check(make_spectrum(entry)(energy).to_value(entry["inputs"]["unit"]), entry)


@pytest.mark.parametrize("entry", entries("spectral_integral"))
def test_integral(entry):
    spectrum = make_spectrum(entry)
    check_integral(spectrum, spectrum.integral(*energies(entry)), entry, 0)


@pytest.mark.parametrize("entry", entries("spectral_eflux"))
def test_energy_flux(entry):
    spectrum = make_spectrum(entry)
    check_integral(spectrum, spectrum.energy_flux(*energies(entry)), entry, 1)


@pytest.mark.parametrize("entry", entries("spectral_epeak"))
def test_e_peak(entry):
    spectrum = make_spectrum(entry)
    peak = spectrum.e_peak
    # At the peak of E² dN/dE the local index is 2.
    np.testing.assert_allclose(spectrum.spectral_index(peak), 2, atol=1e-5)
    if entry["id"] == "spectral.logpar2.e_peak":
        # The reference's 7.41 TeV is the peak for equal reference and scale energies: not of this one.
        sed = [(e**2 * spectrum(e)).value for e in (peak, entry["expected"] * u.TeV)]
        assert sed[0] > 1.5 * sed[1]
    else:
        check(peak.to_value("TeV"), entry)


@pytest.mark.parametrize("entry", entries("crab_spectrum"))
def test_crab(entry):
    spectrum = create_crab_spectral_model(entry["inputs"]["model"].removeprefix("crab "))
    values = {
        "dnde_2TeV": spectrum(2 * u.TeV).to_value("cm-2 s-1 TeV-1"),
        "flux_1_1000TeV": spectrum.integral(1 * u.TeV, 1000 * u.TeV).to_value("cm-2 s-1"),
        "index_2TeV": spectrum.spectral_index(2 * u.TeV),
    }
    for key, expected in entry["expected"].items():
        np.testing.assert_allclose(values[key], expected, rtol=entry["rtol"])


@pytest.mark.parametrize("entry", entries("ebl_transmission"))
def test_ebl(entry, gammapy_data):
    inputs = entry["inputs"]
    ebl = EBLAbsorptionNormSpectralModel.read_builtin(
        inputs["ebl"], redshift=inputs["redshift"], alpha_norm=inputs["alpha_norm"]
    )
    check(ebl(inputs["energy_TeV"] * u.TeV).value, entry)


@pytest.mark.parametrize("entry", entries("ebl_absorbed_pl"))
def test_ebl_absorbed(entry, gammapy_data):
    inputs = entry["inputs"]
    power_law = PowerLawSpectralModel(
        index=inputs["index"], amplitude=f"{inputs['amplitude']} cm-2 s-1 TeV-1"
    )
    ebl = EBLAbsorptionNormSpectralModel.read_builtin(
        inputs["ebl"], redshift=inputs["redshift"], alpha_norm=inputs["alpha_norm"]
    )
    spectrum = SkyModel(power_law * ebl).spectral_model
    check(spectrum(inputs["energy_TeV"] * u.TeV).to_value("cm-2 s-1 TeV-1"), entry)


@pytest.mark.parametrize("entry", entries("prior", "prior_icdf"))
def test_prior(entry):
    inputs = entry["inputs"]
    distribution = getattr(prior, inputs["prior"])(**inputs["parameters"])
    if entry["kind"] == "prior":
        values = [float(distribution(x)) for x in inputs["x"]]
        expected = [float(v) for v in entry["expected"]]
    else:
        values, expected = distribution.inverse_cdf(inputs["q"]), entry["expected"]
    np.testing.assert_allclose(values, expected, rtol=entry["rtol"])


@pytest.mark.parametrize("entry", entries("pivot_energy"))
def test_pivot_energy(entry):
    inputs = entry["inputs"]
    spectrum = PowerLawSpectralModel(index=inputs["index"], amplitude=f"{inputs['amplitude']} cm-2 s-1 TeV-1")
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = inputs["cov_index_amplitude"]
    spectrum.covariance = covariance
    check(spectrum.pivot_energy.to_value("TeV"), entry)
    # Closed form: ln(E_pivot / E_0) = cov(index, amplitude) / (amplitude var(index)).
    exponent = covariance[0, 1] / inputs["amplitude"] / covariance[0, 0]
    np.testing.assert_allclose(spectrum.pivot_energy.to_value("TeV"), np.exp(exponent), rtol=1e-5)


def error_spectrum(entry):
    inputs = entry["inputs"]["parameters"]
    spectrum = LogParabolaSpectralModel(
        amplitude=f"{inputs['amplitude']} cm-2 s-1 TeV-1",
        reference="1 TeV",
        alpha=inputs["alpha"],
        beta=inputs["beta"],
    )
    spectrum.covariance = entry["inputs"]["covariance"]
    return spectrum


@pytest.mark.parametrize("entry", entries("error_propagation"))
def test_error_by_sampling(entry):
    spectrum = error_spectrum(entry)
    draws = spectrum.sample_parameters_from_covariance(100_000, random_state=0, free_only=False)
    if "dnde" in entry["id"]:
        result = spectrum.evaluate_error(1 * u.TeV, samples=draws)
        # At the reference energy the flux is the amplitude, so its distribution is known.
        np.testing.assert_allclose(result[1:].value, np.sqrt(1.31e-23), rtol=0.02)
        values = draws[:, 0]
    else:
        result = spectrum.integral_error(1 * u.TeV, 10 * u.TeV, samples=draws)
        again = spectrum.integral_error(1 * u.TeV, 10 * u.TeV, n_samples=100_000, random_state=0)
        np.testing.assert_array_equal(result.value, again.value)
        energy = np.geomspace(1, 10, 1001)
        x = np.log(energy)
        flux = draws[:, :1] * np.exp(-draws[:, 2:3] * x - draws[:, 3:] * x**2)
        values = np.trapezoid(flux * energy, x, axis=1)
    low, median, high = np.quantile(values, [0.158655, 0.5, 0.841345])
    np.testing.assert_allclose(result.value, [median, median - low, high - median], rtol=1e-4)
    np.testing.assert_allclose(result[0].value, entry["expected"][0], rtol=entry["rtol"])
    # The reference's errors are smaller than the quantiles of its own draws, by 3 % to 15 %.
    ratio = result[1:].value / entry["expected"][1:]
    assert np.all((ratio > 1) & (ratio < 1.17))


@pytest.mark.parametrize("entry", entries("error_propagation"))
def test_error_by_derivatives(entry):
    spectrum = error_spectrum(entry)
    covariance = np.array(entry["inputs"]["covariance"])
    if "dnde" in entry["id"]:
        value, errn, errp = spectrum.evaluate_error(1 * u.TeV)
        gradient = np.array([1.0, 0, 0, 0])
    else:
        value, errn, errp = spectrum.integral_error(1 * u.TeV, 10 * u.TeV)
        amplitude = spectrum.amplitude.value

        def weighted(power):
            return quad(lambda e: spectrum(e * u.TeV).value * np.log(e) ** power, 1, 10, epsrel=1e-12)[0]

        # The derivatives of the logarithm of a log-parabola are 1 / amplitude, -ln E and -ln² E.
        gradient = np.array([weighted(0) / amplitude, 0, -weighted(1), -weighted(2)])
    np.testing.assert_allclose(errn.value, np.sqrt(gradient @ covariance @ gradient), rtol=1e-8)
    assert errn == errp
    np.testing.assert_allclose(value.value, entry["expected"][0], rtol=entry["rtol"])


def test_naima_pion_decay():
    naima = pytest.importorskip("naima")
    entry = next(e for e in ENTRIES if e["id"] == "naima.piondecay")
    particle = naima.models.PowerLaw(amplitude=2e33 / u.eV, e_0=10 * u.TeV, alpha=2.5)
    spectrum = NaimaSpectralModel(naima.models.PionDecay(particle, nh=1 / u.cm**3), distance=1 * u.kpc)
    check_naima(spectrum, entry)


def test_naima_inverse_compton():
    naima = pytest.importorskip("naima")
    entry = next(e for e in ENTRIES if e["id"] == "naima.ic_cmb")
    particle = naima.models.ExponentialCutoffBrokenPowerLaw(
        amplitude=2e33 / u.eV,
        e_0=10 * u.TeV,
        alpha_1=2.5,
        alpha_2=2.7,
        e_break=900 * u.GeV,
        e_cutoff=10 * u.TeV,
    )
    radiative = naima.models.InverseCompton(particle, seed_photon_fields=["CMB"])
    check_naima(NaimaSpectralModel(radiative, distance=1 * u.kpc), entry)


def test_naima_synchrotron_self_compton():
    naima = pytest.importorskip("naima")
    entry = next(e for e in ENTRIES if e["id"] == "naima.ssc_crab")
    electrons = naima.models.ExponentialCutoffBrokenPowerLaw(
        amplitude=3.699e36 / u.eV,
        e_0=1 * u.TeV,
        e_break=0.265 * u.TeV,
        alpha_1=1.5,
        alpha_2=3.233,
        e_cutoff=1863 * u.TeV,
        beta=2.0,
    )
    seeds = ["CMB", ["FIR", 70 * u.K, 0.5 * u.eV / u.cm**3], ["NIR", 5000 * u.K, 1 * u.eV / u.cm**3]]
    radiative = naima.models.InverseCompton(
        electrons, seed_photon_fields=seeds, Eemax=50 * u.PeV, Eemin=0.1 * u.GeV
    )
    ssc = {"SSC": {"B": 125 * u.uG, "radius": 2.1 * u.pc}}
    spectrum = NaimaSpectralModel(radiative, distance=1 * u.kpc, nested_models=ssc)
    check(spectrum(2 * u.TeV).to_value("cm-2 s-1 TeV-1"), entry)


def check_naima(spectrum, entry):
    expected = entry["expected"]
    np.testing.assert_allclose(spectrum(2 * u.TeV).value, expected["dnde_2TeV"], rtol=entry["rtol"])
    # Where the reference integrates by power laws between its points, ours is Gauss-Legendre.
    bounds = (1 * u.TeV, 10 * u.TeV)
    np.testing.assert_allclose(spectrum.integral(*bounds).value, expected["integral_1_10TeV"], rtol=1e-4)
    np.testing.assert_allclose(spectrum.energy_flux(*bounds).value, expected["eflux_1_10TeV"], rtol=1e-4)
