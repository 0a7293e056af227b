"""Dark matter among events

Five hours of the Galactic Centre with the southern array of the CTAO: is there dark matter among the events,
how much of it, and what is its mass? Each event is either of the halo, of a catalogue's sources, of diffuse
emission or of the residual background. Their shares and the mass are inferred together, with true energies
and directions integrated out. With `$GAMMAPY_DATA` the responses are those of the CTAO, the sources those of
the H.E.S.S. survey, and the diffuse emission a template of Fermi; without it, analytic stand-ins.
"""

import os
import time

start = time.perf_counter()

import astropy.units as u  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
from astropy.coordinates import SkyCoord  # noqa: E402

from villard.astro.darkmatter import EinastoProfile, HaloSpatialModel, ScalarSingletSpectralModel  # noqa: E402
from villard.bayes import EventMixture, ParameterGrid  # noqa: E402
from villard.catalog import SourceCatalogHGPS  # noqa: E402
from villard.data import Observation  # noqa: E402
from villard.irf import load_irf_dict_from_file, make_analytic_irfs  # noqa: E402
from villard.modeling.models import (  # noqa: E402
    GaussianSpatialModel,
    IRFBackground,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpatialModel,
    extend_template,
)
from villard.modeling.prior import LogUniformPrior  # noqa: E402
from villard.simulate import simulate_events  # noqa: E402


def stage(name):
    """Print how long the last stage took."""
    global start
    now = time.perf_counter()
    print(f"{name:<14} {now - start:5.2f} s", flush=True)
    start = now


stage("import")

# %%
# ## Observation and components
has_data = "GAMMAPY_DATA" in os.environ
prod5 = "$GAMMAPY_DATA/cta-caldb/Prod5-South-20deg-SouthAz-14MSTs37SSTs.18000s-v0.1.fits.gz"
galactic_centre = SkyCoord(0, 0, unit="deg", frame="galactic")
irfs = load_irf_dict_from_file(prod5) if has_data else make_analytic_irfs()
observation = Observation.create(galactic_centre, livetime=5 * u.h, irfs=irfs)

dark_matter = SkyModel(
    ScalarSingletSpectralModel(mass=1 * u.TeV, coupling=0.1), HaloSpatialModel(EinastoProfile()), name="DM"
)
if has_data:
    catalogue = SourceCatalogHGPS("$GAMMAPY_DATA/catalogs/hgps_catalog_v1.fits.gz")
    sources = [m for m in catalogue.to_models() if m.position.separation(galactic_centre) < 5 * u.deg]
    template = TemplateSpatialModel.read(
        "$GAMMAPY_DATA/fermi-3fhl-gc/gll_iem_v06_gc.fits.gz", normalize=False
    )
    # Beyond its energies it goes on as a power law, with the index of its last factor of 10.
    template = extend_template(template, 200 * u.TeV)
    diffuse = SkyModel(PowerLawNormSpectralModel(), template, name="diffuse")
else:
    places = [PointSpatialModel(lon_0=lon * u.deg, lat_0=0 * u.deg, frame="galactic") for lon in (-1.1, 0.9)]
    sources = [SkyModel(PowerLawSpectralModel(index=2.3), place) for place in places]
    plane = GaussianSpatialModel(sigma=3 * u.deg, e=0.98, phi=90 * u.deg, frame="galactic")
    diffuse = SkyModel(PowerLawSpectralModel(index=2.7), plane, name="diffuse")
components = {"DM": dark_matter, "bkg": {"CCR": IRFBackground(), "local": sources, "diffuse": diffuse}}
stage("models")

# %%
# ## Events
# True energies and directions of the models, drawn through the responses.
events = simulate_events(
    observation,
    components,
    n_events={"DM": 250, "CCR": 175, "local": 50, "diffuse": 25},
    energy_bounds=[0.1, 100] * u.TeV,
    width=6 * u.deg,
    random_state=1,
)
stage("simulation")
events.peek()
stage("plot")

# %%
# ## Marginalisation
# What has a prior is sampled. Here the mass takes 121 values; without `grids` it is continuous.
dark_matter.parameters["mass"].prior = LogUniformPrior(min=0.12, max=38.1)
mass = ParameterGrid(bounds=[0.12, 38.1] * u.TeV, bins=121)
mixture = EventMixture(events, observation, components, grids={"mass": mass})
print(mixture)
stage("marginals")

# %%
# ## Posterior
posterior = mixture.sample("dynesty", nlive=500, dlogz=0.8, random_state=1)
print(posterior)
stage("sampling")
truths = {"DM": 0.5, "bkg": 0.5, "CCR": 0.7, "local": 0.2, "diffuse": 0.1, "mass": 1.0}
posterior.plot_corner(truths=truths, log_axes=["mass"])
stage("corner plot")
for name, truth in truths.items():
    pull = (posterior.mean[name] - truth) / posterior.sd[name]
    mean, sd = posterior.mean[name], posterior.sd[name]
    print(f"{name:<8} {mean:.3f} ± {sd:.3f}, true {truth:.3g}, {pull:+.1f} sigma")
    assert abs(pull) < 3, name
plt.show()
