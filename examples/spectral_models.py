"""Spectral models

What they can tell, how they are combined, frozen and linked, and how you write your own in a few lines.
"""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np

from villard.data import demo_path
from villard.datasets import Datasets
from villard.modeling import Fit, Parameter
from villard.modeling.models import (
    ExpCutoffPowerLawSpectralModel,
    LogParabolaSpectralModel,
    Models,
    PowerLawSpectralModel,
    SkyModel,
    SpectralModel,
    TemplateSpectralModel,
    create_crab_spectral_model,
)
from villard.utils.array import namespace

energy_bounds = [0.3, 50] * u.TeV

# %%
# ## Questions to a model
model = ExpCutoffPowerLawSpectralModel(index=2, amplitude="1e-11 cm-2 s-1 TeV-1", lambda_="0.1 TeV-1")
print(model)
print("dN/dE at 1 TeV:     ", model(1 * u.TeV))
print("flux, 1 to 10 TeV:  ", model.integral(1 * u.TeV, 10 * u.TeV))
print("energy flux:        ", model.energy_flux(1 * u.TeV, 10 * u.TeV).to("erg cm-2 s-1"))
print("index at 10 TeV:    ", model.spectral_index(10 * u.TeV))
print("energy with 1e-13:  ", model.inverse(1e-13 * u.Unit("cm-2 s-1 TeV-1")))

# %%
# ## Published spectra of the Crab Nebula
ax = plt.figure().gca()
for name in ("meyer", "hegra", "hess_pl", "hess_ecpl", "magic_lp", "magic_ecpl"):
    create_crab_spectral_model(name).plot(energy_bounds, ax=ax, sed_type="e2dnde", label=name)
ax.legend()

# %%
# ## Sums, products, tables
line = PowerLawSpectralModel(index=3, amplitude="5e-12 cm-2 s-1 TeV-1")
total = model + line
energy = np.geomspace(0.1, 100, 30) * u.TeV
table = TemplateSpectralModel(energy, 2 * model(energy))

ax = plt.figure().gca()
for spectrum, label in [(model, "cutoff"), (line, "power law"), (total, "sum"), (table, "table")]:
    spectrum.plot(energy_bounds, ax=ax, sed_type="e2dnde", label=label)
ax.legend()


# %%
# ## Your own
# Parameters, and one function of plain arrays in TeV, cm and s. It is compiled and differentiated as the
# built-in ones are. The parameter that the flux is proportional to is marked `is_norm`.
class BumpSpectralModel(SpectralModel):
    """Gaussian in the logarithm of energy."""

    amplitude = Parameter("amplitude", "1e-11 cm-2 s-1 TeV-1", is_norm=True)
    center = Parameter("center", "1 TeV")
    width = Parameter("width", 0.5)

    @staticmethod
    def evaluate(energy, amplitude, center, width):
        """Return the flux."""
        xp = namespace(energy, amplitude, center, width)
        return amplitude * xp.exp(-0.5 * (xp.log(energy / center) / width) ** 2)


# %%
# ## Limits, freezing, links
# Fit a power law with a bump that is held in its place and width.
datasets = Datasets.read(demo_path("datasets.yaml"))
bump = BumpSpectralModel(amplitude="1e-12 cm-2 s-1 TeV-1", center="2 TeV", width=0.3)
bump.center.frozen = True
bump.width.frozen = True
law = PowerLawSpectralModel(amplitude="3e-11 cm-2 s-1 TeV-1", index=2.3)
law.index.min, law.index.max = 1, 4
datasets.models = SkyModel(spectral_model=law + bump, name="source")
result = Fit().run(datasets)
assert result.success, result.message
print(result.models.to_parameters_table()["name", "value", "error", "unit", "frozen"])

# %%
# Two parameters are linked by making them one object: two sources with the same index.
first = PowerLawSpectralModel(amplitude="3e-11 cm-2 s-1 TeV-1", index=2.3)
second = PowerLawSpectralModel(amplitude="1e-12 cm-2 s-1 TeV-1", index=2)
second.index = first.index
spectra = {"first": first, "second": second}
models = Models([SkyModel(spectral_model=spectrum, name=name) for name, spectrum in spectra.items()])
print([parameter.name for parameter in models.parameters.free_unique_parameters])

# %%
# ## YAML
# In Gammapy's format; links, limits and frozen states are kept.
print(models.to_yaml())

# %%
# ## Errors
# Any quantity of a fitted model has an error: by exact derivatives, or by sampling the covariance.
datasets = Datasets.read(demo_path("datasets.yaml"), demo_path("models.yaml"))
Fit().run(datasets)
spectrum = datasets.models[0].spectral_model
assert isinstance(spectrum, LogParabolaSpectralModel)
print("flux above 1 TeV:", spectrum.integral_error(1 * u.TeV, 100 * u.TeV))
print("pivot energy:    ", spectrum.pivot_energy)
