"""Simulates the 3FHL Galactic Centre many times: TS of a source that isn't there, limits of those that are.

    python benchmarks/roi_coverage.py --width 6 4 --toys 300

The region is simulated from its fit to the data, with two more sources: `null` has no flux, `faint` TS 4.
"""

import argparse
import time

import numpy as np

from villard.roi import ROI
from villard.roi.derived import UPPER_LIMIT_95
from villard.simulate import ToyEnsemble, simulate_toys

CUBES = "$GAMMAPY_DATA/fermi-3fhl-gc/fermi-3fhl-gc"
EXTRA = "$GAMMAPY_DATA/fermi-extra/fermi-3fhl-gc"
SPECTRUM = {"Index": 2.3, "Prefactor": 1e-15, "Scale": 2e4}


def region(width: list[float]) -> ROI:
    """Return the region with the norms of its fit, all free."""
    places = {"null": (-1.5, 1.2), "faint": (1.4, 1.0)}
    roi = ROI.from_config(
        {
            "data": {key: f"{CUBES}-{key}-cube.fits.gz" for key in ("counts", "exposure", "psf")},
            "binning": {"roiwidth": width},
            "selection": {"glon": 0, "glat": 0},
            "model": {
                "npred": [
                    {"name": name, "file": f"{EXTRA}-background-{name}.fits.gz"} for name in ("gal", "iso")
                ],
                "catalogs": ["3FHL"],
                "src_roiwidth": width,
                "sources": [
                    {"name": name, "glon": lon, "glat": lat, **SPECTRUM}
                    for name, (lon, lat) in places.items()
                ],
            },
        }
    )
    roi.free_sources(pars="norm")
    roi.fit(update=False, min_fit_quality=3)
    for name in places:
        roi.models[name].spectral_model.amplitude.value = 0
    amplitude = roi.models["faint"].spectral_model.amplitude
    # Without fluctuations TS is nearly quadratic in the norm at few counts.
    amplitude.quantity = "1e-15 cm-2 s-1 MeV-1"
    roi.simulate_roi(randomize=False)
    amplitude.value *= np.sqrt(4 / roi.source_ts("faint"))
    roi.restore_counts()
    return roi


def positive_share(roi: ROI, name: str) -> float:
    """Return how often counts rise where a source is put in, everything else held: half for many counts."""
    dataset, amplitude = roi.datasets[0], roi.models[name].spectral_model.amplitude
    expected = dataset.npred().data.ravel()
    amplitude.quantity = "1e-15 cm-2 s-1 MeV-1"
    weight = dataset.npred_signal(name).data.ravel() / expected
    amplitude.value = 0
    near = weight > 1e-6 * weight.max()
    rng = np.random.default_rng(2)
    scores = [(rng.poisson(expected[near]) - expected[near]) @ weight[near] for _ in range(4000)]
    return float(np.mean(np.array(scores) > 0))


def limits(toys: ToyEnsemble, parameter: object) -> tuple[float, float]:
    """Return how often the truth is below the upper limit of 95 %, and within the error of one sigma."""
    truth = toys.truth[toys.index(parameter)]
    rise = toys.ts_truth(parameter)
    missed = (toys.values[:, toys.index(parameter)] < truth) & (rise > UPPER_LIMIT_95)
    return 1 - float(np.mean(missed)), float(np.mean(rise < 1))


def main() -> None:
    """Simulate, refit, and print shares beside those expected."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=float, nargs=2, default=[6.0, 4.0], help="size of the region (deg)")
    parser.add_argument("--toys", type=int, default=300, help="number of simulations")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulations")
    args = parser.parse_args()
    roi = region(args.width)
    start = time.perf_counter()
    toys = simulate_toys(roi.datasets, n_toys=args.toys, random_state=args.seed)
    seconds = time.perf_counter() - start
    print(f"{args.toys} fits of {toys.n_free} norms: {seconds:.1f} s, {toys.success.sum()} converged")
    ts = toys.ts_truth(roi.models["null"].spectral_model.amplitude)
    for level, expected in ((1e-3, 0.5), (1.0, 0.1587), (2.7055, 0.05), (4.0, 0.0228)):
        error = np.sqrt(expected * (1 - expected) / args.toys)
        print(f"TS of null > {level:<6}: {np.mean(ts > level):.3f}, expected {expected:.3f} +- {error:.3f}")
    print(f"with these few counts and everything else held, above 0: {positive_share(roi, 'null'):.3f}")
    for source in roi.get_sources(exclude_diffuse=True, exclude="null"):
        amplitude = roi.models[source.name].spectral_model.amplitude
        if amplitude.value > 0:
            limit, sigma = limits(toys, amplitude)
            print(f"{source.name:20s} 95 % limits cover {limit:.3f}, 68 % intervals {sigma:.3f}", flush=True)


if __name__ == "__main__":
    main()
