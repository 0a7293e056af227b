"""Mixtures of events in Villard and in GammaBayes, stage by stage, and how both grow; see README.md here."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def run(python: str, worker: str, *arguments: str) -> dict:
    """Run a worker in a process of its own; return its report."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"OPENBLAS_NUM_THREADS": "1"}
    environment["GAMMAPY_DATA"] = str(Path(environment["GAMMAPY_DATA"]).resolve())
    command = [python, str(HERE / "workers" / worker), *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=tempfile.gettempdir(), check=False
    )
    if done.returncode:
        raise SystemExit(f"{worker} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(report: dict, title: str) -> None:
    """Print a report line by line."""
    print(f"\n{title}")
    for key, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v:.3f}" for k, v in value.items())
        elif isinstance(value, float):
            value = f"{value:.4g}"
        print(f"  {key:<26} {value}")


def scale(numbers: list[int]) -> None:
    """Print times and memory by number of events, and a call by number of values of the grid."""
    print("\n| events | values | simulation s | folding and marginals s | marginals s | call ms | MiB |")
    print("|---|---|---|---|---|---|---|")
    middle = numbers[len(numbers) // 2]
    for n, values in [*((n, 121) for n in numbers), (middle, 12), (middle, 484)]:
        r = run(sys.executable, "events.py", str(n), str(values), "none")
        times = (r["simulation"], r["responses and marginals"], r["marginals alone"])
        cells = [str(n), str(values), *(f"{t:.2f}" for t in times), f"{1e3 * r['call']:.3f}"]
        print("|", " | ".join([*cells, str(r["memory_mib"])]), "|", flush=True)


def compare(peer: str, quick: bool) -> None:
    """Run both on the same events, and print ratios."""
    import astropy.units as u

    from villard.simulate import simulate_events
    from workers.events import make_components

    observation, components, _ = make_components()
    numbers = {"DM": 250, "CCR": 175, "local": 50, "diffuse": 25}
    events = simulate_events(
        observation, components, 1, numbers, energy_bounds=[0.1, 100] * u.TeV, width=6 * u.deg
    )
    sky = events.galactic
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.npz"
        lon = sky.l.wrap_at("180d").deg
        np.savez(path, energy=events.energy.to_value("TeV"), lon=lon, lat=sky.b.deg)
        theirs = run(peer, "gammabayes_events.py", str(path), "quick" if quick else "whole")
    ours = run(sys.executable, "events.py", "500", "121", "dynesty")
    show(ours, "Villard")
    show(theirs, "GammaBayes 0.1.9" + (" (coarse axes)" if quick else ""))
    marginals = ("response norms", "models", "densities and marginals")
    inference = [sum(theirs[k] for k in marginals), ours["responses and marginals"]]
    sampling = theirs.get("sampling", theirs["sampling by sticks"])
    rate = [ours["effective samples"] / ours["sampling"], theirs["effective samples"] / sampling]
    print(f"\nwhole chain       {theirs['total'] / ours['total']:.1f} times faster")
    print(f"up to marginals   {inference[0] / inference[1]:.1f} times faster")
    print(f"marginals alone   {theirs['densities and marginals'] / ours['marginals alone']:.1f} times faster")
    print(f"effective samples per second: {rate[0]:.0f}, {rate[1]:.0f}: {rate[0] / rate[1]:.1f} times more")
    cpu = theirs.get("sampling, CPU", theirs["sampling by sticks, CPU"])
    rate = [ours["effective samples"] / ours["sampling, CPU"], theirs["effective samples"] / cpu]
    print(f"and per CPU second: {rate[0]:.0f}, {rate[1]:.0f}: {rate[0] / rate[1]:.1f} times more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="Python of an environment with GammaBayes 0.1.9")
    parser.add_argument("--quick", action="store_true", help="coarse axes in GammaBayes, to try out")
    parser.add_argument("--scale", nargs="*", type=int, help="numbers of events, by default 10^4 to 10^6")
    arguments = parser.parse_args()
    if arguments.scale is not None:
        scale(arguments.scale or [10_000, 100_000, 1_000_000])
    elif arguments.peer:
        compare(arguments.peer, arguments.quick)
    else:
        show(run(sys.executable, "events.py", "500", "121", "dynesty"), "Villard")


if __name__ == "__main__":
    main()
