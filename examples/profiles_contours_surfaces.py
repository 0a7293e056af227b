"""Profiles, contours and surfaces

The likelihood around the best fit, with all other parameters refitted. Every scan is one batch of small fits.
"""

import matplotlib.pyplot as plt
import numpy as np

from villard.data import demo_path
from villard.datasets import Datasets
from villard.modeling import Fit
from villard.visualization import plot_contour_line

datasets = Datasets.read(demo_path("datasets.yaml"), demo_path("models.yaml"))
fit = Fit()
result = fit.run(datasets)
parameters = datasets.models.parameters
amplitude, alpha, beta = (parameters[name] for name in ("amplitude", "alpha", "beta"))

# %%
# ## Asymmetric errors
# Where the refitted likelihood has risen by sigma².
for parameter in (amplitude, alpha, beta):
    interval = fit.confidence(datasets, parameter, sigma=1)
    print(
        f"{parameter.name:>9} {parameter.value:.4g} ± {parameter.error:.2g}"
        f"   -{interval['errn']:.3g} +{interval['errp']:.3g}"
    )

# %%
# ## Profile
# `scan_n_values` and `scan_n_sigma`, or `scan_values`, say where. Without refitting the curve is steeper, and
# errors read off it would be too small.
alpha.scan_n_values, alpha.scan_n_sigma = 31, 3
refitted = fit.stat_profile(datasets, alpha, reoptimize=True)
held = fit.stat_profile(datasets, alpha, reoptimize=False)

ax = plt.figure().gca()
for profile, label in [(refitted, "others refitted"), (held, "others held")]:
    ax.plot(profile["crab.spectral.alpha_scan"], profile["stat_scan"] - result.total_stat, label=label)
ax.set(xlabel="alpha", ylabel="Δ fit statistic", ylim=(0, 15))
ax.legend()

# %%
# ## Contours
ax = plt.figure().gca()
for sigma in (1, 2, 3):
    contour = fit.stat_contour(datasets, alpha, beta, numpoints=24, sigma=sigma)
    plot_contour_line(
        ax, contour["crab.spectral.alpha"], contour["crab.spectral.beta"], label=f"{sigma} sigma"
    )
ax.plot(alpha.value, beta.value, "+")
ax.set(xlabel="alpha", ylabel="beta")
ax.legend()

# %%
# ## Surface
# 40 × 40 fits of the remaining parameter.
for parameter in (alpha, beta):
    parameter.scan_n_values, parameter.scan_n_sigma = 40, 4
surface = fit.stat_surface(datasets, alpha, beta, reoptimize=True)
significance = np.sqrt(np.maximum(surface["stat_scan"].T - result.total_stat, 0))

fig, ax = plt.subplots()
mesh = ax.pcolormesh(alpha.scan_values, beta.scan_values, significance, shading="auto")
ax.contour(alpha.scan_values, beta.scan_values, significance, levels=[1, 2, 3], colors="white")
ax.set(xlabel="alpha", ylabel="beta")
fig.colorbar(mesh, label="sigma")
