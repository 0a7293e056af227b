"""Halos as morphologies: normalisation, derivatives, fits, simulated events."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.stats import kstest

from villard._jax import jax
from villard.astro.darkmatter import (
    BurkertProfile,
    DarkMatterAnnihilationSpectralModel,
    DarkMatterDecaySpectralModel,
    EinastoProfile,
    GeneralizedNFWProfile,
    HaloSpatialModel,
    JFactory,
    NFWProfile,
    cone_integral,
)
from villard.data import Observation
from villard.datasets import MapDataset
from villard.exceptions import ModelError
from villard.irf import make_analytic_irfs
from villard.maps import MapAxis, RegionGeom, WcsGeom
from villard.modeling import Fit
from villard.modeling.models import Models, SkyModel
from villard.simulate import expected_events, norm_for_events, simulate_events

POINTING = SkyCoord(0, 0, unit="deg", frame="galactic")
BOUNDS = [0.1, 2] * u.TeV


@pytest.fixture(scope="module")
def observation():
    return Observation.create(POINTING, livetime=50 * u.h, irfs=make_analytic_irfs())


def dark_matter(profile=None, **kwargs):
    spectrum = DarkMatterAnnihilationSpectralModel("1 TeV", "W", source="analytic", **kwargs)
    return SkyModel(spectrum, HaloSpatialModel(EinastoProfile() if profile is None else profile), name="DM")


def test_flux_of_a_halo():
    """Spectrum times morphology is σv J / 8π m² dN/dE, with the J-factor of the cone."""
    model = dark_matter(GeneralizedNFWProfile(gamma=1.2))
    region = RegionGeom.create("galactic;circle(0, 0, 0.5)")
    share = model.spatial_model.integrate_geom(region).data.sum()
    factor = cone_integral(model.spatial_model.profile, 0.5 * u.deg)
    assert share * 1e22 == pytest.approx(factor.to_value("GeV2 cm-5"), rel=3e-3)
    direct = DarkMatterAnnihilationSpectralModel("1 TeV", "W", source="analytic", jfactor=factor)
    assert (share * model.spectral_model("0.3 TeV")).value == pytest.approx(direct("0.3 TeV").value, rel=3e-3)


@pytest.mark.parametrize("profile", [BurkertProfile(), NFWProfile()])
def test_image(profile):
    """Values of the model are those of the line of sight, by interpolation in a table."""
    geom = WcsGeom.create(npix=(30, 20), binsz=0.21, frame="galactic", skydir=(3.0, 1.0))
    exact = JFactory(geom, profile, 8.33 * u.kpc, center=POINTING).compute_differential_jfactor()
    found = HaloSpatialModel(profile).evaluate_geom(geom)
    assert found.to_value("sr-1") * 1e22 == pytest.approx(exact.value, rel=1e-6)


def test_derivatives_of_all_parameters():
    halo = HaloSpatialModel(GeneralizedNFWProfile())
    pure = halo.pure()
    values = [p.engine_value for p in halo.parameters]

    def density(parameters):
        return pure.evaluate(np.array([0.5]), np.array([0.2]), parameters, pure.arrays)[0]

    exact = jax.jit(jax.grad(density))([jax.numpy.asarray(v) for v in values])
    for i, value in enumerate(values):
        step = 1e-5 * (abs(value) or 1.0)
        both = [values[:i] + [value + sign * step] + values[i + 1 :] for sign in (1, -1)]
        slope = (density(both[0]) - density(both[1])) / (2 * step)
        assert float(exact[i]) == pytest.approx(float(slope), rel=1e-5, abs=1e-6)


def test_radial_distribution():
    halo = HaloSpatialModel(EinastoProfile())
    _, integral = halo.radial_distribution(3 * u.deg)
    assert integral[-1] * halo.reference_factor.value == pytest.approx(
        halo.jfactor(3 * u.deg).value, rel=1e-5
    )


def test_a_fit_of_the_inner_slope(observation):
    """⟨σv⟩ and the slope of the cusp from an Asimov cube, with the engine's derivatives."""
    energy = MapAxis.from_energy_bounds("0.1 TeV", "1 TeV", nbin=3)
    true = MapAxis.from_energy_bounds("0.06 TeV", "2 TeV", nbin=6, name="energy_true")
    geom = WcsGeom.create(npix=24, binsz=0.1, frame="galactic", axes=[energy])
    dataset = MapDataset.create(geom, energy_axis_true=true, name="cube")
    dataset.exposure.data += 1e13
    dataset.background.data += 1.0
    dataset.mask_safe.data[...] = True
    dataset.psf = dataset.edisp = None
    model = dark_matter(GeneralizedNFWProfile(gamma=1.1), sigmav="3e-25 cm3 s-1")
    model.parameters["gamma"].frozen = False
    dataset.models = Models([model])
    dataset.counts = dataset.npred()
    model.parameters["gamma"].value, model.parameters["sigmav"].value = 1.0, 4e-25
    result = Fit().run([dataset])
    assert result.success
    assert model.parameters["gamma"].value == pytest.approx(1.1, abs=1e-3)
    assert model.parameters["sigmav"].value == pytest.approx(3e-25, rel=1e-2)


def test_events_of_a_halo(observation):
    """Separations follow the J-factor, where the effective area hardly changes."""
    model = dark_matter()
    events = simulate_events(observation, model, 1, {"DM": 20_000}, BOUNDS, width=3 * u.deg)
    true = SkyCoord(events.true["RA_TRUE"], events.true["DEC_TRUE"])
    psi = true.separation(POINTING).deg
    psi = psi[psi < 1.0]
    grid = np.geomspace(1e-4, 1, 60)
    total = [cone_integral(EinastoProfile(), g * u.deg).value for g in grid]
    assert kstest(psi, lambda x: np.interp(x, grid, np.array(total) / total[-1])).pvalue > 0.01


def test_numbers_and_cross_sections_convert(observation):
    """The amplitude that n events stand for has nothing to do with the field of view."""
    model = dark_matter()
    for width in (1.5, 4):
        settings = {"energy_bounds": BOUNDS, "width": width * u.deg}
        n = expected_events(observation, model, **settings)["DM"]
        assert norm_for_events(observation, model, n, **settings).to_value("cm3 s-1") == pytest.approx(3e-26)
        half = norm_for_events(observation, model, 0.5 * n, **settings)
        assert half.to_value("cm3 s-1") == pytest.approx(1.5e-26)
        drawn = len(simulate_events(observation, model, 3, **settings))
        assert abs(drawn - n) < 4 * np.sqrt(n)
    # By hand, for what comes from the inner half degree at one energy resolution and area.
    region = cone_integral(EinastoProfile(), 4 * u.deg).value / 1e22
    energy = np.geomspace(0.02, 1, 2000)
    area = observation.aeff.evaluate(energy_true=energy * u.TeV, offset=0 * u.deg)
    rate = (model.spectral_model(energy * u.TeV) * area).to_value("s-1 TeV-1")
    most = np.sum(0.5 * (rate[1:] + rate[:-1]) * np.diff(energy)) * 180_000 * region
    wide = expected_events(observation, model, [0.01, 3] * u.TeV, 5.6 * u.deg)["DM"]
    assert 0.6 * most < wide < most


def test_half_of_a_source_at_the_edge_is_lost(observation):
    model = SkyModel.create("pl", "point", name="edge")
    model.spatial_model.position = SkyCoord(1, 0, unit="deg", frame="galactic")
    inner, outer = (
        expected_events(observation, model, BOUNDS, width * u.deg)["edge"] for width in (2.0, 5.0)
    )
    assert inner == pytest.approx(0.5 * outer, rel=0.01)


def test_decay():
    halo = HaloSpatialModel(NFWProfile(), annihilation=False)
    assert halo.reference_factor.unit == u.Unit("GeV cm-2")
    spectrum = DarkMatterDecaySpectralModel("2 TeV", "W", source="analytic")
    model = SkyModel(spectrum, halo, name="decay")
    factor = halo.jfactor(2 * u.deg)
    assert factor.to_value("GeV cm-2") == pytest.approx(
        cone_integral(NFWProfile(), 2 * u.deg, annihilation=False).value
    )
    assert model.parameters.free_parameters.names == ["decay_rate"]
    assert halo.evaluation_radius == 180 * u.deg


def test_extent():
    dwarf = HaloSpatialModel(NFWProfile(r_s="0.3 kpc", rho_s="1 GeV cm-3"), distance="80 kpc", frame="icrs")
    assert dwarf.evaluation_radius.to_value("deg") == pytest.approx(np.degrees(np.arcsin(6 / 80)))
    assert dwarf.evaluation_bin_size_min.to_value("deg") == pytest.approx(0.04)
    assert HaloSpatialModel(NFWProfile()).evaluation_radius == 180 * u.deg
    short = HaloSpatialModel(NFWProfile(), radius_max=50 * u.kpc)
    assert short.radius_max.to_value("kpc") == pytest.approx(50)
    # Where it has ended there is nothing.
    ball = HaloSpatialModel(NFWProfile(r_s="0.3 kpc", rho_s="1 GeV cm-3"), "80 kpc", radius_max=1 * u.kpc)
    assert ball(3 * u.deg, 0 * u.deg).value < 1e-200


def test_dict_and_copy():
    model = dark_matter(GeneralizedNFWProfile(gamma=1.3))
    model.parameters["gamma"].frozen = False
    model.spatial_model.position = SkyCoord(1, 2, unit="deg", frame="galactic")
    again = Models.from_dict(Models([model]).to_dict())["DM"]
    assert again.parameters.names == model.parameters.names
    assert again.parameters.value == pytest.approx(model.parameters.value)
    assert not again.parameters["gamma"].frozen
    at = (1.3 * u.deg, 2.2 * u.deg, 0.4 * u.TeV)
    assert again.evaluate(*at).value == pytest.approx(model.evaluate(*at).value)
    other = model.copy(name="copy")
    other.parameters["gamma"].value = 0.9
    assert model.parameters["gamma"].value == 1.3
    with pytest.raises(ModelError, match="expected a profile"):
        HaloSpatialModel("nfw")
    with pytest.raises(ModelError, match="'profile' with its 'type' is missing"):
        HaloSpatialModel.from_dict({"type": "HaloSpatialModel"})


def test_spectra_that_do_not_belong_to_a_halo():
    """Annihilation in a halo of decay would be a flux in the wrong unit, a second J-factor a wrong one."""
    decaying = HaloSpatialModel(EinastoProfile(), annihilation=False)
    annihilation = DarkMatterAnnihilationSpectralModel("1 TeV", "W", source="analytic")
    with pytest.raises(ModelError, match="both of annihilation or both of decay"):
        SkyModel(annihilation, decaying)
    decay = DarkMatterDecaySpectralModel("1 TeV", "W", source="analytic")
    with pytest.raises(ModelError, match="both of annihilation or both of decay"):
        SkyModel(decay, HaloSpatialModel(EinastoProfile()))
    with pytest.raises(ModelError, match="brings its own J- or D-factor"):
        dark_matter(jfactor="1e20 GeV2 cm-5")
