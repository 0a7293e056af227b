"""Flux points

The flux in bins of energy: all bins are fitted in one batch, with errors, upper limits, significances and
likelihood profiles. Then a spectrum is fitted to the points.
"""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np

from villard.data import demo_path
from villard.datasets import Datasets, FluxPointsDataset
from villard.estimators import FluxPoints, FluxPointsEstimator
from villard.modeling import Fit
from villard.modeling.models import LogParabolaSpectralModel, SkyModel

# %%
# ## From counts
# In each bin the spectrum keeps the shape of the fit, and is scaled.
datasets = Datasets.read(demo_path("datasets.yaml"), demo_path("models.yaml"))
Fit().run(datasets)
spectrum = datasets.models["crab"].spectral_model

edges = np.geomspace(0.5, 20, 9) * u.TeV
estimator = FluxPointsEstimator(energy_edges=edges, source="crab", selection_optional="all")
points = estimator.run(datasets)
print(points)
table = points.to_table(sed_type="dnde", formatted=True)
table["e_ref", "dnde", "dnde_errn", "dnde_errp", "dnde_ul", "sqrt_ts", "is_ul"].pprint_all()

# %%
ax = plt.figure().gca()
spectrum.plot(energy_bounds=[0.4, 25] * u.TeV, ax=ax, sed_type="e2dnde", label="fit")
spectrum.plot_error(energy_bounds=[0.4, 25] * u.TeV, ax=ax, sed_type="e2dnde")
points.plot(ax=ax, sed_type="e2dnde", label="flux points")
ax.legend()

# %%
# ## Likelihood profiles
# More than a value and an error: how the likelihood depends on the flux in each bin.
ax = plt.figure().gca()
points.plot(ax=ax, sed_type="e2dnde", color="white")
points.plot_ts_profiles(ax=ax, sed_type="e2dnde")

# %%
# ## Files
# GADF tables, as FITS or ECSV; other tools read them.
points.write("crab_points.fits", sed_type="dnde")
again = FluxPoints.read("crab_points.fits", reference_model=datasets.models["crab"])
print(again)

# %%
# ## From flux points
# A spectrum fitted to the points, where counts aren't public. It comes close to the fit of the counts.
dataset = FluxPointsDataset(data=points, name="points")
curve = LogParabolaSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2, beta=0)
dataset.models = SkyModel(spectral_model=curve, name="curve")
result = Fit().run(Datasets([dataset]))
print(result)
for name in ("amplitude", "alpha", "beta"):
    for label, model in [("counts", spectrum), ("points", curve)]:
        parameter = model.parameters[name]
        print(f"{name:>9} from {label}: {parameter.value:.4g} ± {parameter.error:.2g}")

# %%
plt.figure(figsize=(7, 6))
dataset.plot_fit()
