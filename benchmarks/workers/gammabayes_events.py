"""The tutorial of event mixtures in GammaBayes 0.1.9, stage by stage, in its own environment; prints JSON.

Its Dirichlet weights ignore the coordinates of the sampler, which then needs 19 times more calls: "sampling"
is that, with weights drawn anew in each transform. "sampling by sticks" is its likelihood with weights by
breaking a stick: what it takes at least, which isn't part of the total.
"""

import json
import random
import resource
import sys
import time
import warnings

warnings.simplefilter("ignore")
start = time.perf_counter()

import astropy.units as u  # noqa: E402
import dynesty  # noqa: E402
import numpy as np  # noqa: E402
from gammabayes.core.binning_geometry import GammaBinning  # noqa: E402
from gammabayes.core.gamma_cube import GammaObs  # noqa: E402
from gammabayes.dark_matter import CombineDMComps  # noqa: E402
from gammabayes.dark_matter.density_profiles import Einasto_Profile  # noqa: E402
from gammabayes.dark_matter.spectral_models import Z2_ScalarSinglet  # noqa: E402
from gammabayes.hyper_inference.core.mixture_tree import MTree  # noqa: E402
from gammabayes.hyper_inference.scan_nuisance_methods import (  # noqa: E402
    discrete_adaptive_scan_hyperparameter_likelihood as adaptive,
)
from gammabayes.likelihoods.irfs.irf_loglike_class import IRF_LogLikelihood  # noqa: E402
from gammabayes.priors.astro_sources.diffuse_emission.fermi_gaggero_diffuse import (  # noqa: E402
    FermiGaggeroDiffusePrior,
)
from gammabayes.priors.astro_sources.localised_sources.hess_catalogue_sources import (  # noqa: E402
    HESSCatalogueSources_Prior,
)
from gammabayes.priors.core.observation_flux_prior import ObsFluxDiscreteLogPrior  # noqa: E402

POINT = np.array([0, 0]) * u.deg


def make_axes(quick: bool) -> tuple:
    """Return true and reconstructed axes: those of the tutorial, or a few nodes to try out."""
    sizes = ((21, 41, 40), (16, 13, 12)) if quick else ((91, 61, 60), (61, 31, 30))
    axes = []
    for n, m, k in sizes:
        energy = np.geomspace(0.1, 100, n) * u.TeV
        axes.append(GammaBinning(energy, np.linspace(-3, 3, m) * u.deg, np.linspace(-3, 3, k) * u.deg))
    return axes[0], axes[1]


def snapped(values: np.ndarray, axis: np.ndarray) -> u.Quantity:
    """Return the nearest nodes: its events are on nodes."""
    nodes = u.Quantity(axis)
    index = np.argmin(np.abs(values[:, None] - nodes.value), axis=1)
    return nodes[index]


def main() -> None:
    events, quick = np.load(sys.argv[1]), sys.argv[2] == "quick"
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - what it draws from
    report: dict = {"import": time.perf_counter() - start}
    clock = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        report[name], clock = now - clock, now

    true, reco = make_axes(quick)
    common = {"pointing_dir": POINT, "observation_time": 5 * u.h}
    irf = IRF_LogLikelihood(
        true_binning_geometry=true,
        binning_geometry=reco,
        zenith=20,
        hemisphere="South",
        prod_vers=5,
        **common,
    )
    norms = sum(irf.create_log_norm_matrices())
    stage("response norms")
    shared = {"binning_geometry": true, "irf_loglike": irf, **common}
    priors = [
        CombineDMComps(
            name="DM",
            spectral_class=Z2_ScalarSinglet,
            spatial_class=Einasto_Profile,
            default_spectral_parameters={"mass": 1.0},
            **shared,
        ),
        ObsFluxDiscreteLogPrior(name="CCR", logfunction=irf.log_bkg_CCR, **shared),
        HESSCatalogueSources_Prior(**shared),
        FermiGaggeroDiffusePrior(**shared),
    ]
    stage("models")
    mass = {"discrete": True, "scaling": "log10", "bounds": [0.12, 38.1], "bins": 121}
    scan = adaptive.DiscreteAdaptiveScan(
        log_likelihoodnormalisation=norms,
        log_priors=priors,
        log_likelihood=irf,
        axes=reco.axes,
        nuisance_axes=true.axes,
        prior_parameter_specifications=[{"spectral_parameters": {"mass": mass}}, {}, {}, {}],
        bounds=[["log10", 0.5], ["linear", 0.5], ["linear", 0.5]],
    )
    observed = GammaObs(
        binning_geometry=reco,
        energy=snapped(events["energy"], reco.energy_axis),
        lon=snapped(events["lon"], reco.lon_axis),
        lat=snapped(events["lat"], reco.lat_axis),
        pointing_dir=POINT,
        irf_loglike=irf,
    )
    marginal = [np.asarray(x) for x in scan.nuisance_log_marginalisation(observed)]
    stage("densities and marginals")
    masses = np.geomspace(0.12, 38.1, 121)
    sample(marginal, masses, report, stage, quick)
    report["total"] = time.perf_counter() - start - report["sampling by sticks"]
    report["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(report))


def sample(marginal: list, masses: np.ndarray, report: dict, stage, quick: bool) -> None:
    """Sample its likelihood with dynesty, weights by breaking a stick."""
    from gammabayes.hyper_inference.scan_nuisance_methods import (
        general_mixture_sampling_nuisance_scan_output as output,
    )

    tree = MTree()
    tree.create_tree(layout=["DM", {"bkg": ["CCR", "HESS", "diffuse"]}], values=[0.5, 0.5, 0.7, 0.2, 0.1])
    weight = {"discrete": False, "scaling": "linear", "bounds": [0.0, 1.0], "bins": 11}
    mass = {"discrete": True, "scaling": "log10", "bounds": [masses[0], masses[-1]], "bins": len(masses)}
    posterior = output.ScanOutput_StochasticTreeMixturePosterior(
        log_nuisance_marg_results=marginal,
        mixture_tree=tree,
        mixture_parameter_specifications={k: dict(weight) for k in ("DM", "bkg", "CCR", "HESS", "diffuse")},
        prior_parameter_specifications=[{"spectral_parameters": {"mass": mass}}, {}, {}, {}],
    )

    def everything(c: np.ndarray) -> np.ndarray:
        first = 1 - np.sqrt(1 - c[1])
        second = (1 - first) * c[2]
        index = min(int(c[3] * len(masses)), len(masses) - 1)
        return np.array([c[0], 1 - c[0], first, second, 1 - first - second, masses[index]])

    rng = np.random.default_rng(1)

    def drawn(c: np.ndarray) -> np.ndarray:
        first = rng.dirichlet([1, 1])
        index = min(int(c[5] * len(masses)), len(masses) - 1)
        return np.concatenate([first, rng.dirichlet([1, 1, 1]), masses[index : index + 1]])

    def by_sticks(c: np.ndarray) -> float:
        return posterior.ln_likelihood(everything(c))

    runs = [("sampling by sticks", by_sticks, lambda c: c, 4)]
    if not quick:
        runs.append(("sampling", posterior.ln_likelihood, drawn, 6))
    for name, likelihood, transform, n_dim in runs:
        sampler = dynesty.NestedSampler(likelihood, transform, n_dim, nlive=500)
        cpu = time.process_time()
        sampler.run_nested(dlogz=0.8, print_progress=False)
        report[f"{name}, CPU"] = time.process_time() - cpu
        stage(name)
        results = sampler.results
        weights = results.importance_weights()
        report["calls"] = int(np.sum(results.ncall))
        report["effective samples"] = float(weights.sum() ** 2 / (weights**2).sum())
        rows = results.samples if n_dim == 6 else np.array([everything(c) for c in results.samples])
        names = ("DM", "bkg", "CCR", "local", "diffuse", "mass")
        report["means"] = dict(zip(names, (weights @ rows).tolist(), strict=True))


if __name__ == "__main__":
    main()
