"""Read, fit, look

From two OGIP observations to a fitted spectrum with its error band. The data come with the package: two
simulated runs on a source like the Crab Nebula.
"""

import astropy.units as u
import matplotlib.pyplot as plt

from villard.data import demo_path
from villard.datasets import Datasets, SpectrumDatasetOnOff
from villard.modeling import Fit
from villard.modeling.models import LogParabolaSpectralModel, SkyModel

# %%
# ## Data
# Each file names its background, effective area and energy dispersion in its header.
datasets = Datasets(SpectrumDatasetOnOff.read(demo_path(f"pha_obs{i}.fits")) for i in (1, 2))
for dataset in datasets:
    print(dataset)

datasets[0].peek()

# %%
# ## Model and fit range
spectrum = LogParabolaSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2, beta=0)
datasets.models = SkyModel(spectral_model=spectrum, name="crab")
for dataset in datasets:
    dataset.mask_fit = dataset.counts.geom.energy_mask(0.5 * u.TeV, 30 * u.TeV)

# %%
# ## Fit
result = Fit().run(datasets)
print(result)
print(result.models.to_parameters_table()["name", "value", "error", "unit", "frozen"])

# %%
# The covariance is that of the exact Hessian, for every backend.
plt.figure()
result.models.covariance.plot_correlation()

# %%
# ## Data and model
plt.figure(figsize=(7, 6))
datasets[0].plot_fit()

# %%
# ## Spectrum
# Errors follow from the covariance by exact derivatives.
dnde, errn, errp = spectrum.evaluate_error(2 * u.TeV)
print(f"At 2 TeV: {dnde:.3g} -{errn.value:.2g} +{errp.value:.2g}")

ax = plt.figure().gca()
energy_bounds = [0.5, 30] * u.TeV
spectrum.plot(energy_bounds=energy_bounds, sed_type="e2dnde", ax=ax)
spectrum.plot_error(energy_bounds=energy_bounds, sed_type="e2dnde", ax=ax)

# %%
# ## Save
# The result is a model file as well: read it with `Models.read`, or let the next fit start from it.
result.write("crab.yaml")
