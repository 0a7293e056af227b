"""The tasks of the spectral benchmark, in Villard."""

import sys

import astropy.units as u
import numpy as np
from common import CONTOUR_PAIRS, FLUX_EDGES, RANGE, data_files, repeats, report, timed

from villard.datasets import Datasets, SpectrumDatasetOnOff
from villard.modeling import Fit
from villard.modeling.models import LogParabolaSpectralModel, SkyModel


def prepare():
    runs = Datasets([SpectrumDatasetOnOff.read(path) for path in data_files()])
    dataset = runs.stack_reduce(name="stacked")
    spectrum = LogParabolaSpectralModel(
        amplitude="1e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.3, beta=0.2
    )
    dataset.models = SkyModel(spectral_model=spectrum, name="crab")
    dataset.mask_fit = dataset.counts.geom.energy_mask(*(RANGE * u.TeV))
    return Datasets([dataset]), spectrum


def reset(spectrum):
    spectrum.amplitude.value, spectrum.alpha.value, spectrum.beta.value = 1e-11, 2.3, 0.2


def cold():
    datasets, spectrum = prepare()
    result = Fit().run(datasets)
    report({"total_stat": result.total_stat, "alpha_error": spectrum.alpha.error})


def tasks():
    datasets, spectrum = prepare()
    fit = Fit()

    def run():
        reset(spectrum)
        fit.run(datasets)

    def profiles():
        for parameter in (spectrum.amplitude, spectrum.alpha, spectrum.beta):
            parameter.scan_n_values = 17
            fit.stat_profile(datasets, parameter, reoptimize=True)

    def contours():
        for x, y in CONTOUR_PAIRS:
            for sigma in (1, 2):
                fit.stat_contour(
                    datasets, getattr(spectrum, x), getattr(spectrum, y), numpoints=10, sigma=sigma
                )

    def surface():
        spectrum.alpha.scan_values = np.linspace(1.55, 2.7, 20)
        spectrum.beta.scan_values = np.linspace(-0.05, 0.55, 20)
        fit.stat_surface(datasets, spectrum.alpha, spectrum.beta, reoptimize=True)

    def flux_points():
        from villard.estimators import FluxPointsEstimator

        FluxPointsEstimator(energy_edges=FLUX_EDGES * u.TeV, source="crab", selection_optional="all").run(
            datasets
        )

    def toys():
        from villard.simulate import simulate_toys

        simulate_toys(datasets, n_toys=1000, random_state=0)

    results = {"fit": timed(run, repeats(50))}
    results["profiles"] = timed(profiles, repeats(10))
    results["contours"] = timed(contours, repeats(10))
    results["surface"] = timed(surface, repeats(10))
    spectrum.alpha.scan_values = spectrum.beta.scan_values = None
    results["flux_points"] = timed(flux_points, repeats(10))
    run()
    results["toys"] = timed(toys, repeats(5))
    report(results)


if __name__ == "__main__":
    {"cold": cold, "tasks": tasks}[sys.argv[1]]()
