"""Time to draw events of a halo, a background and a point source: python benchmarks/simulate_events.py.

Only the analytic responses are needed, so that it runs anywhere.
"""

import resource
import time

import astropy.units as u
from astropy.coordinates import SkyCoord

from villard.astro.darkmatter import DarkMatterAnnihilationSpectralModel, EinastoProfile, HaloSpatialModel
from villard.data import Observation
from villard.irf import make_analytic_irfs
from villard.modeling.models import IRFBackground, SkyModel
from villard.simulate import simulate_events


def main() -> None:
    centre = SkyCoord(0, 0, unit="deg", frame="galactic")
    observation = Observation.create(centre, livetime=5 * u.h, irfs=make_analytic_irfs())
    spectrum = DarkMatterAnnihilationSpectralModel("1 TeV", "W", source="analytic")
    point = SkyModel.create("pl", "point", name="point")
    point.spatial_model.position = centre
    components = {
        "DM": SkyModel(spectrum, HaloSpatialModel(EinastoProfile()), name="DM"),
        "point": point,
        "CCR": IRFBackground(),
    }
    print(f"{'events':>10} {'seconds':>9} {'peak MiB':>9}")
    for total in (1_000, 10_000, 100_000, 1_000_000):
        numbers = {"DM": total // 4, "point": total // 4, "CCR": total // 2}
        start = time.perf_counter()
        events = simulate_events(observation, components, 1, numbers)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{len(events):>10} {seconds:>9.2f} {peak:>9.0f}")


if __name__ == "__main__":
    main()
