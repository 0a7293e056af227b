"""Map fits in Villard and in Gammapy, beside each other in one run; see README.md here."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from spectral import HERE, peer_python

CASES = {
    "a": "3FHL cube: free position, background norm",
    "b": "3FHL: Galactic, isotropic, source",
    "c": "3FHL: 14 sources, norms free",
    "d": "3FHL: 14 sources, norms and indices free",
    "e": "CTA cube: free position, cutoff, background norm",
    "f": "3FHL: TS map, 400 x 200 pixels",
}


def worker(python: str, tool: str, case: str, repeats: int, cache: str | None = None) -> dict:
    """Run a case in a process of its own; return its report."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env |= {"OPENBLAS_NUM_THREADS": "1", "BENCHMARK_REPEATS": str(repeats)}
    env["GAMMAPY_DATA"] = str(Path(env["GAMMAPY_DATA"]).resolve())
    if cache is not None:
        env["VILLARD_CACHE"] = cache
    command = [python, str(HERE / "workers" / "maps.py"), tool, case]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, cwd=tempfile.gettempdir(), check=False
    )
    if done.returncode:
        raise SystemExit(f"{tool}, case {case} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_case(case: str, peer: str, repeats: int) -> dict[str, dict]:
    """Run a case in both tools, in Villard also with nothing compiled before."""
    with tempfile.TemporaryDirectory() as cache:
        empty = worker(sys.executable, "villard", case, 0, cache)
    ours = worker(sys.executable, "villard", case, repeats)
    return {"villard": ours | {"empty_cache": empty["first"]}, "gammapy": worker(peer, "gammapy", case, 0)}


def _outcome(report: dict) -> str:
    if "total_stat" in report:
        return f"{report['total_stat']:.2f}" + ("" if report["success"] else " (failed)")
    return f"largest {report['largest_ts']:.1f}"


def show(results: dict[str, dict]) -> None:
    """Print the tables."""
    times = Table(title="Seconds of Fit.run (or of the estimator), and how many times faster")
    titles = ("case", "nothing compiled", "first", "later", "Gammapy", "ratio first", "ratio later")
    for title in titles:
        times.add_column(title, justify="left" if title == "case" else "right")
    outcomes = Table(title="-2 ln L at the minimum (TS), and peak memory of the process in MiB")
    for title in ("case", "Villard", "Gammapy", "Villard MiB", "Gammapy MiB"):
        outcomes.add_column(title, justify="left" if title == "case" else "right")
    for case, both in results.items():
        ours, theirs = both["villard"], both["gammapy"]
        later = ours["later"] or ours["first"]
        seconds = [ours["empty_cache"], ours["first"], later, theirs["first"]]
        ratios = [theirs["first"] / ours["first"], theirs["first"] / later]
        label = f"({case}) {CASES[case]}"
        times.add_row(label, *(f"{t:.3g}" for t in seconds), *(f"{r:.3g}" for r in ratios))
        memory = (f"{report['memory_mib']}" for report in (ours, theirs))
        outcomes.add_row(label, _outcome(ours), _outcome(theirs), *memory)
    console = Console(width=130)
    console.print(times)
    console.print(outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), help="cases to run, of a to f")
    parser.add_argument("--peer", help="interpreter that has Gammapy (made on the first run otherwise)")
    parser.add_argument("--repeats", type=int, default=5, help="later calls in Villard")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    if "GAMMAPY_DATA" not in os.environ:
        raise SystemExit("This benchmark needs the data of Gammapy in $GAMMAPY_DATA")
    peer = peer_python(options.peer)
    results = {}
    for case in options.cases:
        print(f"({case}) {CASES[case]} …", file=sys.stderr)
        results[case] = run_case(case, peer, options.repeats)
    show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
