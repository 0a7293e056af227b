"""How the cost of a likelihood grows with bins and sources.

Cubes of 8 energies are simulated with a few per cent of their bins filled. Point sources are spread over the
field, with norms and indices of their spectra free and positions fixed, beside a free background norm. Along
one line the field grows at 10 sources, along the other the number of sources at 10⁶ bins. Each case runs in a
process of its own, so that its peak memory is known.

Run: ``python benchmarks/scaling.py [--plot docs/scaling.png]``
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

N_ENERGIES, BINSZ = 8, 0.05
BINS = [1e5, 3e5, 1e6, 3e6, 1e7]
SOURCES = [1, 3, 10, 30, 100, 300]
FIXED_BINS, FIXED_SOURCES = 1e6, 10


def measure(n_bins: float, n_sources: int) -> dict[str, float]:
    """Time one case."""
    import astropy.units as u

    from villard.data.make_cube import make_empty_cube
    from villard.likelihood import bind
    from villard.modeling.models import (
        FoVBackgroundModel,
        PointSpatialModel,
        PowerLawSpectralModel,
        SkyModel,
    )

    rng = np.random.default_rng(0)
    side = round(np.sqrt(n_bins / N_ENERGIES))
    dataset = make_empty_cube(
        width=side * BINSZ, binsz=BINSZ, n_energies=N_ENERGIES, livetime=10 * u.min, fall_off=np.inf
    )
    sources = []
    for i in range(n_sources):
        position = dataset.geom.to_image().pix_to_skydir(*rng.uniform(0.02 * side, 0.98 * side, 2))
        shape = PointSpatialModel(lon_0=position.l, lat_0=position.b, frame="galactic")
        shape.freeze()
        spectrum = PowerLawSpectralModel(index=2.2, amplitude="3e-11 cm-2 s-1 TeV-1")
        sources.append(SkyModel(spectrum, shape, name=f"source-{i}"))
    dataset.models = sources
    dataset.fake(random_state=0)
    dataset.models = [*sources, FoVBackgroundModel(dataset_name="cube")]
    start = time.perf_counter()
    likelihood = bind([dataset])
    bound = time.perf_counter() - start
    return {
        "bins": dataset.counts.data.size,
        "filled": int(np.sum(dataset.counts.data > 0)),
        "sources": n_sources,
        "parameters": likelihood.n_free,
        "bind": bound,
        "gradient": _seconds(likelihood.value_and_gradient),
        "fisher": _seconds(likelihood.fisher),
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _seconds(function: object) -> float:
    """Return the median time of a call, not counting the first, which compiles."""
    function()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 1 and len(times) < 50):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def run(n_bins: float, n_sources: int) -> dict[str, float]:
    """Measure a case in a process of its own."""
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--case", str(n_bins), str(n_sources)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{n_bins:g} bins, {n_sources} sources failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(rows: list[dict[str, float]]) -> None:
    """Print a table."""
    table = Table(title="Evaluations per second and peak memory of the process")
    titles = ("bins", "filled", "sources", "parameters", "bind (s)", "value, gradient", "with Fisher", "MiB")
    for title in titles:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            *(f"{row[key]:,}" for key in ("bins", "filled", "sources", "parameters")),
            f"{row['bind']:.2f}",
            f"{1 / row['gradient']:.3g}",
            f"{1 / row['fisher']:.3g}",
            f"{row['memory_mib']:.0f}",
        )
    Console(width=110).print(table)


def plot(by_bins: list[dict[str, float]], by_sources: list[dict[str, float]], path: Path) -> None:
    """Plot evaluations per second and memory against bins and sources."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    lines = (("bins", by_bins, f"{FIXED_SOURCES} sources"), ("sources", by_sources, f"{FIXED_BINS:.0e} bins"))
    for column, (key, rows, title) in enumerate(lines):
        x = [row[key] for row in rows]
        top, bottom = panels[0, column], panels[1, column]
        for name, label in (("gradient", "value and gradient"), ("fisher", "with Fisher matrix")):
            top.loglog(x, [1 / row[name] for row in rows], "o-", label=label)
        bottom.loglog(x, [row["memory_mib"] for row in rows], "o-", color="C2")
        top.set_title(title)
        bottom.set_xlabel(key)
        for ax in (top, bottom):
            ax.grid(which="both", alpha=0.2)
    panels[0, 0].set_ylabel("evaluations per second")
    panels[0, 0].legend()
    panels[1, 0].set_ylabel("peak memory (MiB)")
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs=2, type=float, metavar=("BINS", "SOURCES"), help="measure one case")
    parser.add_argument("--plot", type=Path, help="write a plot to this file")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case[0], int(options.case[1]))))
        return
    by_bins = [run(n, FIXED_SOURCES) for n in BINS]
    by_sources = [run(FIXED_BINS, n) for n in SOURCES]
    show([*by_bins, *by_sources])
    if options.plot:
        plot(by_bins, by_sources, options.plot)
    if options.json:
        options.json.write_text(json.dumps([by_bins, by_sources], indent=1))


if __name__ == "__main__":
    main()
