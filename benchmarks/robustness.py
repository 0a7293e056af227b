"""How often each fit backend finds the minimum from random starts: 18 problems of simulated data.

The data are those that come with the package (two simulated ON/OFF observations): fitted jointly with
`wstat`, with a known background and `cash`, and a faint version of a tenth of the counts. Six spectra are
fitted to each. Starts are drawn over four decades of flux and over any plausible shape. A fit has found the
minimum if it says so and its statistic is within 0.1 of the best that any fit of the problem reached.

Run: ``python benchmarks/robustness.py [--starts 300] [--backends newton minuit scipy]``

Energies of breaks are fixed unless ``--free-break`` is given: a likelihood with a free break has several true
minima between the data's bins, which any local method may end in.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from rich.console import Console
from rich.table import Table

from villard.data import demo_path
from villard.datasets import Datasets, SpectrumDataset, SpectrumDatasetOnOff
from villard.exceptions import FitError
from villard.modeling import Fit
from villard.modeling.models import (
    BrokenPowerLawSpectralModel,
    ExpCutoffPowerLawSpectralModel,
    LogParabolaSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    SmoothBrokenPowerLawSpectralModel,
    SpectralModel,
)

ENOUGH = 0.1
AMPLITUDE = ("log", 1e-13, 1e-9)
INDEX = ("lin", 0.5, 4.5)
BREAK = ("log", 0.8, 15.0)
TRUTH = LogParabolaSpectralModel(amplitude="3.8e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.4, beta=0.15)


@dataclass
class Problem:
    """Data, the model that is fitted to them, and from where starts are drawn."""

    name: str
    datasets: Datasets
    model: SkyModel
    starts: dict[str, tuple[str, float, float]]

    def set_start(self, rng: np.random.Generator) -> None:
        """Set the parameters to a random start."""
        for name, (scale, low, high) in self.starts.items():
            value = (
                np.exp(rng.uniform(np.log(low), np.log(high))) if scale == "log" else rng.uniform(low, high)
            )
            self.model.spectral_model.parameters[name].value = float(value)


def spectra(
    free_break: bool,
) -> Iterator[tuple[str, Callable[[], SpectralModel], dict[str, tuple[str, float, float]]]]:
    """Give name, maker and starts of each spectrum."""

    def broken(cls: type[SpectralModel], **kwargs: Any) -> SpectralModel:
        model = cls(index1=2, index2=3, ebreak="2 TeV", amplitude="1e-12 cm-2 s-1 TeV-1", **kwargs)
        model.ebreak.frozen = not free_break
        # A break outside the data has no meaning, and the fit would find that out.
        model.ebreak.min, model.ebreak.max = 0.7, 20
        return model

    yield "power law", PowerLawSpectralModel, {"amplitude": AMPLITUDE, "index": INDEX}
    yield (
        "log-parabola",
        lambda: LogParabolaSpectralModel(reference="1 TeV"),
        {"amplitude": AMPLITUDE, "alpha": INDEX, "beta": ("lin", -0.5, 1.0)},
    )
    cutoff = {"amplitude": AMPLITUDE, "index": INDEX, "lambda_": ("log", 1e-3, 1.0)}
    yield "cutoff", ExpCutoffPowerLawSpectralModel, cutoff
    yield "sub-exponential cutoff", lambda: ExpCutoffPowerLawSpectralModel(alpha=0.5), cutoff
    breaks = {"amplitude": AMPLITUDE, "index1": INDEX, "index2": INDEX}
    if free_break:
        breaks["ebreak"] = BREAK
    yield "broken", lambda: broken(BrokenPowerLawSpectralModel), breaks
    yield "smoothly broken", lambda: broken(SmoothBrokenPowerLawSpectralModel, beta=1), breaks


def data() -> Iterator[tuple[str, Datasets]]:
    """Give name and datasets of each kind of data."""
    on_off = Datasets(SpectrumDatasetOnOff.read(demo_path(f"pha_obs{i}.fits")) for i in (1, 2))
    yield "wstat", on_off
    known = []
    for dataset in on_off:
        known.append(
            SpectrumDataset(
                name=f"{dataset.name}-known",
                counts=dataset.counts,
                exposure=dataset.exposure,
                edisp=dataset.edisp,
                background=dataset.background,
                mask_safe=dataset.mask_safe,
            )
        )
    yield "cash", Datasets(known)
    faint = []
    for seed, dataset in enumerate(on_off):
        copy = SpectrumDataset(
            name=f"{dataset.name}-faint",
            exposure=dataset.exposure * 0.1,
            edisp=dataset.edisp,
            background=dataset.background * 0.1,
            mask_safe=dataset.mask_safe,
        )
        copy.models = SkyModel(TRUTH, name="truth")
        copy.fake(random_state=seed)
        copy.models = None
        faint.append(copy)
    yield "faint", Datasets(faint)


def problems(free_break: bool) -> Iterator[Problem]:
    """Give every combination of data and spectrum."""
    for data_name, datasets in data():
        for name, make, starts in spectra(free_break):
            model = SkyModel(make(), name="source")
            for dataset in datasets:
                dataset.mask_fit = dataset.counts.geom.energy_mask(0.5 * u.TeV)
            yield Problem(f"{data_name}, {name}", datasets, model, starts)


def run(problem: Problem, backend: str, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return statistic and success from each start, and the mean time of a fit (s)."""
    problem.datasets.models = problem.model
    fit = Fit(backend)
    rng = np.random.default_rng(0)
    stats, success = np.full(n, np.inf), np.zeros(n, dtype=bool)
    elapsed = 0.0
    for i in range(n):
        problem.set_start(rng)
        start = time.perf_counter()
        try:
            result = fit.optimize(problem.datasets)
        except FitError:
            continue
        finally:
            elapsed += time.perf_counter() - start
        stats[i], success[i] = result.total_stat, result.success
    return stats, success, elapsed / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=300, help="random starts per problem")
    parser.add_argument("--backends", nargs="+", default=["newton", "minuit"])
    parser.add_argument(
        "--free-break", action="store_true", help="fit breaks too, which have several true minima"
    )
    options = parser.parse_args()
    table = Table(title=f"Fits that found the minimum, of {options.starts}; false: said so elsewhere")
    table.add_column("problem")
    for backend in options.backends:
        for column in (backend, "false", "ms"):
            table.add_column(column, justify="right")
    found: dict[str, list[int]] = {backend: [] for backend in options.backends}
    for problem in problems(options.free_break):
        results = {backend: run(problem, backend, options.starts) for backend in options.backends}
        best = min(np.nanmin(stats) for stats, _, _ in results.values())
        cells = []
        for backend, (stats, success, seconds) in results.items():
            good = success & (stats < best + ENOUGH)
            found[backend].append(int(good.sum()))
            cells += [str(good.sum()), str((success & ~good).sum()), f"{1e3 * seconds:.1f}"]
        table.add_row(problem.name, *cells)
    Console(width=100).print(table)
    for backend, numbers in found.items():
        total = sum(numbers) / (len(numbers) * options.starts)
        print(f"{backend}: {min(numbers)} to {max(numbers)} of {options.starts}, {total:.2%} in all")


if __name__ == "__main__":
    main()
