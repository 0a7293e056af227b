"""One run of the tutorial of event mixtures with a number of events, in a process of its own; prints JSON."""

import json
import resource
import sys
import time

start = time.perf_counter()

import astropy.units as u  # noqa: E402
import numpy as np  # noqa: E402
from astropy.coordinates import SkyCoord  # noqa: E402

from villard.astro.darkmatter import EinastoProfile, HaloSpatialModel, ScalarSingletSpectralModel  # noqa: E402
from villard.bayes import EventMixture, ParameterGrid  # noqa: E402
from villard.catalog import SourceCatalogHGPS  # noqa: E402
from villard.data import Observation  # noqa: E402
from villard.irf import load_irf_dict_from_file  # noqa: E402
from villard.modeling.models import (  # noqa: E402
    IRFBackground,
    PowerLawNormSpectralModel,
    SkyModel,
    TemplateSpatialModel,
)
from villard.modeling.prior import LogUniformPrior  # noqa: E402
from villard.simulate import simulate_events  # noqa: E402

PROD5 = "$GAMMAPY_DATA/cta-caldb/Prod5-South-20deg-SouthAz-14MSTs37SSTs.18000s-v0.1.fits.gz"


def make_components() -> tuple:
    """Return observation, components and the dark matter of the tutorial."""
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    observation = Observation.create(center, livetime=5 * u.h, irfs=load_irf_dict_from_file(PROD5))
    halo = HaloSpatialModel(EinastoProfile())
    dark = SkyModel(ScalarSingletSpectralModel(mass=1 * u.TeV, coupling=0.1), halo, name="DM")
    catalogue = SourceCatalogHGPS("$GAMMAPY_DATA/catalogs/hgps_catalog_v1.fits.gz")
    local = [m for m in catalogue.to_models() if m.position.separation(center) < 5 * u.deg]
    template = TemplateSpatialModel.read(
        "$GAMMAPY_DATA/fermi-3fhl-gc/gll_iem_v06_gc.fits.gz", False, interp_kwargs={"fill_value": None}
    )
    diffuse = SkyModel(PowerLawNormSpectralModel(), template, name="diffuse")
    background = {"CCR": IRFBackground(), "local": local, "diffuse": diffuse}
    return observation, {"DM": dark, "bkg": background}, dark


def main() -> None:
    n, bins, sampler = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    report: dict = {"import": time.perf_counter() - start}
    clock = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        report[name], clock = now - clock, now

    observation, components, dark = make_components()
    stage("models")
    numbers = {"DM": n // 2, "CCR": int(0.35 * n), "local": n // 10, "diffuse": n // 20}
    bounds = [0.1, 100] * u.TeV
    events = simulate_events(observation, components, 1, numbers, energy_bounds=bounds, width=6 * u.deg)
    stage("simulation")
    dark.parameters["mass"].prior = LogUniformPrior(min=0.12, max=38.1)
    grid = ParameterGrid(bounds=[0.12, 38.1] * u.TeV, bins=bins)
    mixture = EventMixture(events, observation, components, grids={"mass": grid})
    stage("responses and marginals")
    mixture.with_events(events)
    stage("marginals alone")
    theta = np.array([0.5, 0.7, 0.2, 1.0])
    mixture.log_likelihood(theta)
    stage("first call")
    calls = max(3, min(1000, 3_000_000 // n))
    for _ in range(calls):
        mixture.log_likelihood(theta)
    report["call"] = (time.perf_counter() - clock) / calls
    clock = time.perf_counter()
    if sampler != "none":
        options = {"nlive": 500, "dlogz": 0.8} if sampler == "dynesty" else {}
        cpu = time.process_time()
        posterior = mixture.sample(sampler, random_state=1, **options)
        report["sampling, CPU"] = time.process_time() - cpu
        stage("sampling")
        report["effective samples"] = posterior.ess
        report["calls"] = posterior.n_calls
        report["means"], report["sds"] = posterior.mean, posterior.sd
    report["events"], report["values"] = n, bins
    report["total"] = time.perf_counter() - start
    report["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(report))


if __name__ == "__main__":
    main()
