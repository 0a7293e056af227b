"""Dark matter: halos, spectra, and events as a telescope would see them.

A halo of Einasto's profile around the Galactic centre, in which scalar singlets annihilate, seen for five
hours by an instrument like the southern array of the CTAO. Everything here comes with the package.
"""

# %%
# ## How much there is to be seen
# J-factors are integrals of the squared density along lines of sight. Profiles that agree at the Sun differ
# by orders of magnitude towards the centre.
import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from astropy.coordinates import SkyCoord

from villard.astro.darkmatter import (
    BurkertProfile,
    EinastoProfile,
    HaloSpatialModel,
    NFWProfile,
    PrimaryFlux,
    ScalarSingletSpectralModel,
    cone_integral,
    line_of_sight_integral,
)
from villard.data import Observation
from villard.irf import make_analytic_irfs
from villard.modeling.models import IRFBackground, SkyModel
from villard.simulate import expected_events, norm_for_events, simulate_events

separation = np.geomspace(0.01, 30, 100) * u.deg
for profile in (EinastoProfile(), NFWProfile(), BurkertProfile()):
    plt.plot(separation, line_of_sight_integral(profile, separation), label=type(profile).__name__)
    print(f"{type(profile).__name__:15s} J(1 deg) = {cone_integral(profile, 1 * u.deg):.2e}")
plt.xscale("log")
plt.yscale("log")
plt.xlabel("Separation from the centre [deg]")
plt.ylabel(r"dJ / d$\Omega$ [GeV$^2$ cm$^{-5}$ sr$^{-1}$]")
plt.legend()
plt.show()

# %%
# ## What it looks like in gamma rays
# Spectra of single channels, and that of the scalar singlet, whose channels follow from mass and coupling.
mass = 1 * u.TeV
singlet = ScalarSingletSpectralModel(mass=mass, coupling=0.1, source="analytic")
print({name: round(part, 4) for name, part in singlet.fractions.items() if part > 1e-4})
energy = np.geomspace(0.003, 1, 300) * u.TeV
for channel in ("b", "W", "tau", "mu"):
    flux = PrimaryFlux(mass, channel, source="analytic")
    plt.plot(energy, (energy**2 * flux(energy)).to("GeV"), label=channel)
per_annihilation = singlet(energy) * 8 * np.pi * mass**2 / (singlet.sigmav.quantity * singlet.jfactor)
plt.plot(energy, (energy**2 * per_annihilation).to("GeV"), "k--", label="scalar singlet")
plt.xscale("log")
plt.yscale("log")
plt.ylim(1, 1000)
plt.xlabel("Energy [TeV]")
plt.ylabel(r"E$^2$ dN / dE [GeV]")
plt.legend()
plt.show()

# %%
# ## Events
# The spectrum and the halo make a source, of which events are drawn beside those of residual cosmic rays.
dark_matter = SkyModel(singlet, HaloSpatialModel(EinastoProfile()), name="DM")
centre = SkyCoord(0, 0, unit="deg", frame="galactic")
observation = Observation.create(centre, livetime=5 * u.h, irfs=make_analytic_irfs())
components = {"DM": dark_matter, "CCR": IRFBackground()}
numbers = expected_events(observation, components)
print({name: round(number, 1) for name, number in numbers.items()})
print("Cross-section for 1000 events:", f"{norm_for_events(observation, dark_matter, 1000):.2e}")

# %%
events = simulate_events(observation, components, random_state=1, n_events={"DM": 1000, "CCR": 1000})
print(events)
events.peek()
plt.show()
