"""Which model? Is there a source?

Likelihood ratios of nested models, information criteria of others, and statistics of counts alone.
"""

from villard.data import demo_path
from villard.datasets import Datasets
from villard.modeling import Fit, compare_models, select_nested_models
from villard.modeling.models import LogParabolaSpectralModel, PowerLawSpectralModel, SkyModel
from villard.stats import WStatCountsStatistic, likelihood_ratio

datasets = Datasets.read(demo_path("datasets.yaml"))


def fit(spectrum):
    """Fit a spectrum to the data."""
    datasets.models = SkyModel(spectral_model=spectrum, name="crab")
    result = Fit().run(datasets)
    print(f"{type(spectrum).__name__:<26} -2 ln L = {result.total_stat:.2f}")
    return result


# %%
# ## Nested models
# A power law is a log-parabola without curvature. If the curvature were zero, the difference of the two
# minima would follow χ² with one degree of freedom.
straight = fit(PowerLawSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1", index=2))
curved = fit(LogParabolaSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2, beta=0))
print(likelihood_ratio(straight.total_stat, curved.total_stat, n_dof=1))

# %%
# `select_nested_models` does both fits and leaves the models as the hypothesis that the data prefer.
spectrum = datasets.models["crab"].spectral_model
selection = select_nested_models(datasets, parameters=[spectrum.beta], null_values=[0], n_sigma=3)
print(f"TS {selection['ts']:.2f}, {selection['significance']:.2f} sigma; {selection['message']}")
print(f"beta is {spectrum.beta.value:g}, {'frozen' if spectrum.beta.frozen else 'free'}")

# %%
# ## Information criteria
# For models that aren't nested: the smaller, the better; a difference of a few means little.
print(compare_models(datasets, {"straight": straight, "curved": curved}))

# %%
# ## Counts
# Excess and significance need no spectrum: only counts on and off, and the ratio α of their acceptances.
info = datasets.stack_reduce(name="both").info_dict()
counts = WStatCountsStatistic(n_on=info["counts"], n_off=info["counts_off"], alpha=info["alpha"])
print(f"excess {counts.n_sig:.1f} ± {counts.error:.1f}, {counts.sqrt_ts:.1f} sigma (Li & Ma)")
print(f"at 1 sigma: -{counts.compute_errn():.1f} +{counts.compute_errp():.1f}")
print(f"an excess seen with 5 sigma half of the time: {counts.n_sig_matching_significance(5):.1f}")
