"""Unbinned fits of many events: time and memory of evaluations and fits; see README.md here.

Without arguments each case runs in a process of its own; `unbinned.py CASE N` is one of them and prints JSON.
"""

import json
import resource
import subprocess
import sys
import time

NUMBERS = (1_000, 10_000, 100_000)
CASES = ("spectrum", "position", "extension")


def make_dataset(case: str, n: int) -> tuple:
    """Return a dataset of n events, a third of them from the source, and its model."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    from villard.data import Observation
    from villard.datasets import EventDataset
    from villard.irf import make_analytic_irfs
    from villard.maps import MapAxis, WcsGeom
    from villard.modeling.models import (
        FoVBackgroundModel,
        GaussianSpatialModel,
        IRFBackground,
        PointSpatialModel,
        PowerLawSpectralModel,
        SkyModel,
    )
    from villard.simulate import simulate_events

    pointing = SkyCoord(83.6, 22.4, unit="deg")
    place = {"lon_0": 83.6 * u.deg, "lat_0": 22 * u.deg, "frame": "icrs"}
    spatial = (
        GaussianSpatialModel(sigma=0.2 * u.deg, **place)
        if case == "extension"
        else PointSpatialModel(**place)
    )
    spectrum = PowerLawSpectralModel(index=2.3, amplitude=1e-11 * u.Unit("TeV-1 s-1 cm-2"))
    source = SkyModel(spectrum, spatial, name="source")
    observation = Observation.create(pointing, livetime=0.5 * u.h, irfs=make_analytic_irfs(), obs_id="run")
    numbers = {"source": n // 3, "background": n - n // 3}
    events = simulate_events(
        observation,
        {"source": source, "background": IRFBackground()},
        random_state=1,
        n_events=numbers,
        energy_bounds=[1, 100] * u.TeV,
        width=3 * u.deg,
    )
    energy = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=24)
    geom = WcsGeom.create(skydir=pointing, binsz=0.05, width=3, proj="TAN", axes=[energy])
    dataset = EventDataset.from_observation(observation.copy(events=events), geom)
    if case == "spectrum":
        for parameter in spatial.parameters:
            parameter.frozen = True
    background = FoVBackgroundModel(dataset_name="run")
    background.spectral_model.tilt.frozen = False
    dataset.models = [source, background]
    return dataset, source


def repeated(function: object, *arguments: object) -> float:
    """Return the shortest of several times of a call (s)."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def measure(case: str, n: int) -> dict:
    """Measure one case."""
    from villard.datasets import Datasets
    from villard.likelihood import bind
    from villard.modeling import Fit

    dataset, source = make_dataset(case, n)
    start = time.perf_counter()
    likelihood = bind([dataset])
    report = {"bind": time.perf_counter() - start}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    theta = likelihood.theta
    for name in ("stat", "value_and_gradient", "fisher"):
        getattr(likelihood, name)(theta)
        report[name] = repeated(getattr(likelihood, name), theta)
    values = [p.value for p in source.parameters]
    for name in ("first fit", "fit"):
        for parameter, value in zip(source.parameters, values, strict=True):
            parameter.value = value
        source.spectral_model.amplitude.value *= 1.5
        start = time.perf_counter()
        result = Fit().run(Datasets([dataset]))
        report[name] = time.perf_counter() - start
    report |= {"success": bool(result.success), "evaluations": int(result.nfev)}
    report |= {"events": dataset.n_events, "parameters": likelihood.n_free, "before": round(before)}
    report["memory"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return report


def main() -> None:
    """Run one case, or all and print a table."""
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
        return
    print(
        "| free | events | bind s | value ms | gradient ms | Fisher ms | first fit s | fit s | calls | MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        for n in NUMBERS:
            command = [sys.executable, __file__, case, str(n)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr[-3000:])
            r = json.loads(done.stdout.strip().splitlines()[-1])
            cells = [case, r["events"], f"{r['bind']:.2f}"]
            cells += [f"{1e3 * r[name]:.2f}" for name in ("stat", "value_and_gradient", "fisher")]
            cells += [f"{r['first fit']:.1f}", f"{r['fit']:.2f}", r["evaluations"], r["memory"]]
            print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


if __name__ == "__main__":
    main()
