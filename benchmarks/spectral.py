"""Spectral fits in Villard and in Gammapy, beside each other in one run; see README.md here."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
PINS = ["gammapy==2.1", "regions<0.11"]
TASKS = {
    "fit": "fit and covariance",
    "profiles": "3 refitted profiles of 17 points",
    "contours": "6 contours of 10 points",
    "surface": "20 x 20 surface, refitted",
    "flux_points": "7 flux points, all errors and limits",
    "toys": "1000 toy fits",
}


def peer_python(given: str | None) -> str:
    """Return an interpreter that has Gammapy; make its environment on the first run."""
    if given:
        return given
    folder = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "villard" / "benchmarks" / "gammapy"
    )
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        print(f"Making the environment of Gammapy in {folder} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PINS], check=True)
        (folder / ".complete").touch()
    return str(python)


def data_files() -> list[str]:
    """Return the PHA files that both tools read."""
    if "GAMMAPY_DATA" in os.environ:
        folder = Path(os.environ["GAMMAPY_DATA"]).resolve() / "joint-crab" / "spectra" / "hess"
        return [str(folder / f"pha_obs{i}.fits") for i in (23523, 23526)]
    from villard.data import demo_path

    return [str(demo_path(f"pha_obs{i}.fits")) for i in (1, 2)]


def environment(cache: str | None = None, repeats: float = 1.0) -> dict[str, str]:
    """Return the environment of the workers."""
    result = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    result["OPENBLAS_NUM_THREADS"] = "1"
    result["BENCHMARK_FILES"] = os.pathsep.join(data_files())
    result["BENCHMARK_REPEATS"] = str(repeats)
    if cache is not None:
        result["VILLARD_CACHE"] = cache
    return result


def worker(python: str, tool: str, task: str, env: dict[str, str]) -> tuple[float, dict]:
    """Run a worker; return its wall time and its report."""
    start = time.perf_counter()
    script = HERE / "workers" / f"{tool}_spectral.py"
    # Elsewhere than in a folder that might hold a package of a dependency's name.
    done = subprocess.run(
        [python, str(script), task],
        env=env,
        capture_output=True,
        text=True,
        cwd=tempfile.gettempdir(),
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{tool} {task} failed:\n{done.stderr}")
    return time.perf_counter() - start, json.loads(done.stdout.strip().splitlines()[-1])


def cold_times(peer: str, n: int) -> dict[str, dict[str, float]]:
    """Time whole processes: import, read, stack, fit, covariance."""
    results: dict[str, dict[str, float]] = {}
    empty = []
    for _ in range(max(1, n // 2)):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(worker(sys.executable, "villard", "cold", environment(cache))[0])
    warm = [worker(sys.executable, "villard", "cold", environment())[0] for _ in range(n + 1)][1:]
    gammapy = [worker(peer, "gammapy", "cold", environment())[0] for _ in range(n + 1)][1:]
    ours, theirs = (
        worker(p, t, "cold", environment())[1] for p, t in ((sys.executable, "villard"), (peer, "gammapy"))
    )
    results["cold"] = {
        "villard_empty_cache": statistics.median(empty),
        "villard": statistics.median(warm),
        "gammapy": statistics.median(gammapy),
    }
    results["minimum"] = {"villard": ours["total_stat"], "gammapy": theirs["total_stat"]}
    return results


def show(results: dict) -> None:
    """Print the table."""
    table = Table(title="Villard and Gammapy 2.1: seconds, and how many times faster")
    for column in ("task", "Villard first", "Villard later", "Gammapy", "ratio"):
        table.add_column(column, justify="left" if column == "task" else "right")
    cold = results["cold"]
    for label, key in (
        ("cold process, nothing compiled yet", "villard_empty_cache"),
        ("cold process", "villard"),
    ):
        row = (f"{cold[key]:.2f}", "", f"{cold['gammapy']:.2f}", f"{cold['gammapy'] / cold[key]:.1f}")
        table.add_row(label, *row)
    for key, label in TASKS.items():
        ours, theirs = results["villard"][key], results["gammapy"][key]
        ratio = theirs["later"] / ours["later"]
        table.add_row(
            label, f"{ours['first']:.3g}", f"{ours['later']:.3g}", f"{theirs['later']:.3g}", f"{ratio:.0f}"
        )
    Console().print(table)
    minimum = results["minimum"]
    print(f"-2 ln L at the minimum: Villard {minimum['villard']:.6f}, Gammapy {minimum['gammapy']:.6f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="interpreter that has Gammapy (made on the first run otherwise)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    options = parser.parse_args()
    peer = peer_python(options.peer)
    repeats = 0.2 if options.quick else 1.0
    results = cold_times(peer, 2 if options.quick else 5)
    for tool, python in (("villard", sys.executable), ("gammapy", peer)):
        results[tool] = worker(python, tool, "tasks", environment(repeats=repeats))[1]
    show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
