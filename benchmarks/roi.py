"""Seconds and ln L of a region of interest of the 3FHL Galactic Centre, beside Gammapy; see README.md here.

``--peer PYTHON`` names an interpreter that has Gammapy; without it only Villard runs. ``--many`` fits the
whole cube instead, with the 240 sources of 4FGL-DR4 in it: all norms; with the shapes of the 60 brightest;
all shapes.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

COMPONENT = """
components:
  - name: P8R2_SOURCE_V6
    counts: $GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc-counts-cube.fits.gz
    exposure: $GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc-exposure-cube.fits.gz
    psf: $GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc-psf-cube.fits.gz
"""
CONFIG = f"""{COMPONENT.rstrip()}
    isodiff: $GAMMAPY_DATA/fermi_3fhl/iso_P8R2_SOURCE_V6_v06.txt
binning: {{roiwidth: [12, 6]}}
selection: {{glon: 0.0, glat: 0.0}}
model:
  galdiff: $GAMMAPY_DATA/fermi-3fhl-gc/gll_iem_v06_gc.fits.gz
  catalogs: [$GAMMAPY_DATA/catalogs/fermi/gll_psch_v13.fit.gz]
  src_roiwidth: [12, 6]
"""
MANY = f"""{COMPONENT.rstrip()}
    npred:
      - $GAMMAPY_DATA/fermi-extra/fermi-3fhl-gc-background-gal.fits.gz
      - $GAMMAPY_DATA/fermi-extra/fermi-3fhl-gc-background-iso.fits.gz
model:
  catalogs: [$GAMMAPY_DATA/catalogs/fermi/gll_psc_v35.fit.gz]
  src_roiwidth: [20, 10]
"""
SOURCE = "3FHL J1745.6-2900"
#: Cases that Gammapy can do too, by their names in maps.py.
PEER = {"joint norms": "c", "norms and indices": "d"}


def cases(roi) -> dict:
    """Return what is timed, in order; fits give ln L."""

    def norms():
        roi.free_sources(free=False)
        roi.free_sources(pars="norm")
        return roi.fit(update=False)["loglike"]

    def everything():
        roi.free_sources()
        return roi.fit(update=False)["loglike"]

    return {
        "optimize": lambda: roi.optimize()["loglike1"],
        "optimize, joint": lambda: roi.optimize(joint=True)["loglike1"],
        "joint norms": norms,
        "norms and indices": everything,
        "TS, fluxes, limits of all": lambda: roi.update_sources(),
        "TS map": lambda: roi.tsmap(
            prefix="bench", model={"Index": 2.0, "SpatialModel": "PointSource"}, write_fits=False
        ),
        "SED of 11 bins": lambda: roi.sed(SOURCE),
        "localisation": lambda: roi.localize(SOURCE),
    }


def measure(repeats: int) -> dict[str, dict]:
    """Time each case, first and again from the same values."""
    from villard.roi import ROI

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        path = Path(folder) / "config.yaml"
        path.write_text(CONFIG)
        roi = ROI.from_config(path)
        results = {}
        for name, function in cases(roi).items():
            values = [p.value for p in roi.parameters]
            times, found = [], None
            for _ in range(repeats + 1):
                for parameter, value in zip(roi.parameters, values, strict=True):
                    parameter.value = value
                start = time.perf_counter()
                try:
                    found = function()
                except Exception as error:
                    found = f"{type(error).__name__}: {error}"
                times.append(time.perf_counter() - start)
            results[name] = {"first": times[0], "later": min(times[1:], default=None)}
            results[name]["loglike"] = found if isinstance(found, float | str) else None
            print(name, results[name], file=sys.stderr)
    return results


def measure_many(repeats: int) -> list[dict]:
    """Fit hundreds of parameters, first and again from the same values."""
    from villard.roi import ROI

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        path = Path(folder) / "config.yaml"
        path.write_text(MANY)
        start = time.perf_counter()
        roi = ROI.from_config(path)
        results = [{"case": "read, and convolve all sources", "first": time.perf_counter() - start}]
        print(results[-1], file=sys.stderr)
        values = [p.value for p in roi.parameters]
        points = [source for source in roi.sources if not source.is_diffuse]
        bright = sorted(points, key=lambda source: -source["npred"])[:60]
        freed = {"norms": [], "norms, 60 shapes": bright, "norms, all shapes": points}
        for name, sources in freed.items():
            roi.free_sources(free=False)
            roi.free_sources(pars="norm")
            for source in sources:
                roi.free_source(source.name, pars="shape")
            runs = []
            for _ in range(repeats + 1):
                for parameter, value in zip(roi.parameters, values, strict=True):
                    parameter.value = value
                start, cpu = time.perf_counter(), os.times()
                fit = roi.fit(update=False, retries=0, max_iter=200)
                user = os.times().user - cpu.user
                runs.append({"wall": time.perf_counter() - start, "user": user})
            later = min(runs[1:], key=lambda run: run["wall"], default={})
            results.append(
                {
                    "case": name,
                    "parameters": len(fit["names"]),
                    "evaluations": fit["niter"],
                    "quality": fit["fit_quality"],
                    "at limits": len(fit["at_limits"]),
                    "ln L": fit["loglike"],
                    "first": runs[0]["wall"],
                    "first, user": runs[0]["user"],
                    "later": later.get("wall"),
                    "later, user": later.get("user"),
                    "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                }
            )
            print(results[-1], file=sys.stderr)
    return results


def show_many(results: list[dict]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="3FHL Galactic Centre, 240 sources of 4FGL-DR4: seconds, evaluations, quality, GB at most"
    )
    titles = list(dict.fromkeys(key for row in results for key in row))
    for title in titles:
        table.add_column(title, justify="left" if title == "case" else "right")
    for row in results:
        cells = [row.get(title) for title in titles]
        table.add_row(*("" if c is None else f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells))
    Console(width=140).print(table)


def show(results: dict[str, dict], peer: dict[str, dict]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="3FHL Galactic Centre, 14 sources: seconds, and ln L")
    for title in ("case", "first", "later", "Gammapy", "ln L", "Gammapy's"):
        table.add_column(title, justify="left" if title == "case" else "right")
    for name, own in results.items():
        other = peer.get(name)
        loglike = own["loglike"]
        table.add_row(
            name,
            f"{own['first']:.3g}",
            "" if own["later"] is None else f"{own['later']:.3g}",
            "" if other is None else f"{other['first']:.3g}",
            f"{loglike:.2f}" if isinstance(loglike, float) else str(loglike or ""),
            "" if other is None else f"{-other['total_stat'] / 2:.2f}",
        )
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="interpreter that has Gammapy")
    parser.add_argument("--repeats", type=int, default=2, help="later calls")
    parser.add_argument("--many", action="store_true", help="fit hundreds of parameters instead")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    if "GAMMAPY_DATA" not in os.environ:
        raise SystemExit("This benchmark needs the data of Gammapy in $GAMMAPY_DATA")
    os.environ["GAMMAPY_DATA"] = str(Path(os.environ["GAMMAPY_DATA"]).resolve())
    target = options.json.resolve() if options.json else None
    if options.many:
        many = measure_many(options.repeats)
        show_many(many)
        if target:
            target.write_text(json.dumps(many, indent=1))
        return
    results = measure(options.repeats)
    peer = {}
    if options.peer:
        from maps import worker

        peer = {name: worker(options.peer, "gammapy", case, 0) for name, case in PEER.items()}
    show(results, peer)
    if target:
        target.write_text(json.dumps({"villard": results, "gammapy": peer}, indent=1))


if __name__ == "__main__":
    main()
