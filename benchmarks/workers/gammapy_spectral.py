"""The tasks of the spectral benchmark, in Gammapy."""

import sys
import warnings

import astropy.units as u
import numpy as np
from common import CONTOUR_PAIRS, FLUX_EDGES, RANGE, data_files, repeats, report, timed

warnings.simplefilter("ignore")

from gammapy.datasets import Datasets, SpectrumDatasetOnOff  # noqa: E402
from gammapy.modeling import Fit  # noqa: E402
from gammapy.modeling.models import LogParabolaSpectralModel, SkyModel  # noqa: E402


def prepare():
    runs = Datasets([SpectrumDatasetOnOff.read(path) for path in data_files()])
    dataset = runs.stack_reduce(name="stacked")
    spectrum = LogParabolaSpectralModel(
        amplitude="1e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.3, beta=0.2
    )
    datasets = Datasets([dataset])
    datasets.models = [SkyModel(spectral_model=spectrum, name="crab")]
    dataset.mask_fit = dataset.counts.geom.energy_mask(*(RANGE * u.TeV))
    return datasets, spectrum


def reset(spectrum):
    spectrum.amplitude.value, spectrum.alpha.value, spectrum.beta.value = 1e-11, 2.3, 0.2


def cold():
    datasets, spectrum = prepare()
    result = Fit().run(datasets)
    report({"total_stat": float(result.total_stat), "alpha_error": float(spectrum.alpha.error)})


def tasks():
    datasets, spectrum = prepare()
    fit = Fit()

    def run():
        reset(spectrum)
        fit.run(datasets)

    def profiles():
        for parameter in (spectrum.amplitude, spectrum.alpha, spectrum.beta):
            parameter.scan_n_values = 17
            fit.stat_profile(datasets=datasets, parameter=parameter, reoptimize=True)

    def contours():
        for x, y in CONTOUR_PAIRS:
            for sigma in (1, 2):
                fit.stat_contour(
                    datasets=datasets,
                    x=getattr(spectrum, x),
                    y=getattr(spectrum, y),
                    numpoints=10,
                    sigma=sigma,
                )

    def surface():
        spectrum.alpha.scan_values = np.linspace(1.55, 2.7, 20)
        spectrum.beta.scan_values = np.linspace(-0.05, 0.55, 20)
        fit.stat_surface(datasets=datasets, x=spectrum.alpha, y=spectrum.beta, reoptimize=True)

    def flux_points():
        from gammapy.estimators import FluxPointsEstimator

        FluxPointsEstimator(energy_edges=FLUX_EDGES * u.TeV, source="crab", selection_optional="all").run(
            datasets
        )

    def toys(n=20):
        """Fit a few toys: a thousand would take minutes, and each costs the same."""
        npred = datasets[0].npred_signal().data + datasets[0].background.data
        counts, model = datasets[0].counts, datasets.models.copy()
        rng = np.random.default_rng(0)
        for _ in range(n):
            toy = datasets[0].copy(name="toy")
            toy.models = model
            toy.counts = counts.copy(data=rng.poisson(npred))
            Fit().run(Datasets([toy]))

    results = {"fit": timed(run, repeats(10))}
    results["profiles"] = timed(profiles, 0)
    results["contours"] = timed(contours, 0)
    run()
    results["surface"] = timed(surface, 0)
    spectrum.alpha.scan_values = spectrum.beta.scan_values = None
    run()
    results["flux_points"] = timed(flux_points, repeats(1))
    toy = timed(toys, 0)
    results["toys"] = {key: value * 1000 / 20 for key, value in toy.items()}
    report(results)


if __name__ == "__main__":
    {"cold": cold, "tasks": tasks}[sys.argv[1]]()
