"""Priors

A prior on a parameter adds −2 ln p to the fit statistic, with exact derivatives as everything else. Typical
uses: the uncertain energy scale or background of an instrument, or a value known from elsewhere.
"""

import matplotlib.pyplot as plt

from villard.data import demo_path
from villard.datasets import Datasets
from villard.modeling import Fit
from villard.modeling.models import GaussianPrior, Prior, UniformPrior
from villard.utils.array import namespace

datasets = Datasets.read(demo_path("datasets.yaml"), demo_path("models.yaml"))
beta = datasets.models.parameters["beta"]
fit = Fit()


def fit_and_profile(label):
    """Fit, and profile the parameter."""
    result = fit.run(datasets)
    assert result.success, result.message
    print(f"{label:<10} beta = {beta.value:.3f} ± {beta.error:.3f}, -2 ln L = {result.total_stat:.2f}")
    beta.scan_min, beta.scan_max, beta.scan_n_values = -0.15, 0.4, 41
    profile = fit.stat_profile(datasets, beta, reoptimize=True)
    rise = profile["stat_scan"] - profile["stat_scan"].min()
    plt.plot(profile["crab.spectral.beta_scan"], rise, label=label)
    plt.legend()


# %%
# ## Without, and with a Gaussian
# Suppose that the curvature is known to be 0.2 ± 0.05.
plt.figure()
fit_and_profile("no prior")
beta.prior = GaussianPrior(mu=0.2, sigma=0.05)
fit_and_profile("Gaussian")

# %%
# ## Bounds
# A uniform prior is constant between its bounds. Where that is all you want, limits of the parameter
# (`beta.min`, `beta.max`) do the same.
beta.prior = UniformPrior(min=0, max=0.3)
fit_and_profile("uniform")


# %%
# ## Your own
# A prior is its default values and one function of plain arrays, numpy's or JAX's; it should
# be smooth, as the fit uses its derivatives.
class CauchyPrior(Prior):
    """Long tails: a value far from ``mu`` is less of a surprise than for a Gaussian."""

    defaults = {"mu": 0.0, "gamma": 1.0}

    @staticmethod
    def evaluate(value, mu, gamma):
        """Return -2 ln p."""
        xp = namespace(value, mu, gamma)
        return 2 * xp.log(xp.pi * gamma * (1 + ((value - mu) / gamma) ** 2))


beta.prior = CauchyPrior(mu=0.2, gamma=0.05)
fit_and_profile("Cauchy")
