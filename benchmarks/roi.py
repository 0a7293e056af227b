"""Seconds and ln L of a region of interest of the 3FHL Galactic Centre, beside Gammapy; see README.md here.

``--peer PYTHON`` names an interpreter that has Gammapy; without it only Villard runs.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """
components:
  - name: P8R2_SOURCE_V6
    counts: $GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc-counts-cube.fits.gz
    exposure: $GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc-exposure-cube.fits.gz
    psf: $GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc-psf-cube.fits.gz
    isodiff: $GAMMAPY_DATA/fermi_3fhl/iso_P8R2_SOURCE_V6_v06.txt
binning: {roiwidth: [12, 6]}
selection: {glon: 0.0, glat: 0.0}
model:
  galdiff: $GAMMAPY_DATA/fermi-3fhl-gc/gll_iem_v06_gc.fits.gz
  catalogs: [$GAMMAPY_DATA/catalogs/fermi/gll_psch_v13.fit.gz]
  src_roiwidth: [12, 6]
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
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    if "GAMMAPY_DATA" not in os.environ:
        raise SystemExit("This benchmark needs the data of Gammapy in $GAMMAPY_DATA")
    os.environ["GAMMAPY_DATA"] = str(Path(os.environ["GAMMAPY_DATA"]).resolve())
    target = options.json.resolve() if options.json else None
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
