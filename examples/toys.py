"""Toys: pulls, coverage, goodness of fit

Random data drawn from the fitted model, thousands of times, and a fit to each: all in one batch. The ensemble
tells whether errors can be trusted and whether the model describes the data.
"""

import matplotlib.pyplot as plt

from villard.data import demo_path
from villard.datasets import Datasets
from villard.modeling import Fit
from villard.simulate import simulate_nested_toys, simulate_toys

datasets = Datasets.read(demo_path("datasets.yaml"), demo_path("models.yaml"))
result = Fit().run(datasets)

# %%
# ## Pulls
# The deviation from the truth in units of the error. Its mean should be 0 and its width 1. With few counts
# per bin it needn't be: that is what toys are for.
toys = simulate_toys(datasets, n_toys=2000, random_state=1)
print(toys)

# %%
toys.plot_pulls()

# %%
# ## Coverage
# How often intervals contain the truth: those where the refitted likelihood rises by so much, and those of
# value ± error.
print(toys.coverage())
print(toys.coverage(method="wald"))

# %%
plt.figure()
toys.plot_coverage()

# %%
# ## Goodness of fit
# Where does the statistic of the real data lie among those of the toys?
goodness = toys.goodness_of_fit(result.total_stat)
print(goodness)

# %%
plt.figure()
goodness.plot()

# %%
# ## The distribution of a likelihood ratio
# Is the curvature needed? Toys without curvature, fitted with and without, give the distribution of the test
# statistic, which should be χ².
beta = datasets.models.parameters["beta"]
comparison = simulate_nested_toys(datasets, beta, 0.0, n_toys=2000, random_state=2)
print(comparison)

# %%
plt.figure()
comparison.plot()
