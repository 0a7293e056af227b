"""Fit sources in a cube of counts

Positions, sizes and spectra of sources, and the background, fitted together in energy and direction.
"""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np

from villard.data.make_cube import make_cube
from villard.datasets import Datasets
from villard.modeling import Fit, MapFit
from villard.modeling.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

# %%
# ## Data
# A cube that the package simulates from formulas: five hours at the Galactic centre, with a point source, an
# extended one across longitude zero, and background. Your own comes from `MapDataset.read("cube.fits")`, in
# Gammapy's layout.


def point(name, lon, lat, amplitude, index=2.0):
    """Return a point source."""
    return SkyModel(
        spectral_model=PowerLawSpectralModel(index=index, amplitude=f"{amplitude} cm-2 s-1 TeV-1"),
        spatial_model=PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame="galactic"),
        name=name,
    )


def gaussian(name, lon, lat, sigma, amplitude, index=2.0):
    """Return a Gaussian source."""
    return SkyModel(
        spectral_model=PowerLawSpectralModel(index=index, amplitude=f"{amplitude} cm-2 s-1 TeV-1"),
        spatial_model=GaussianSpatialModel(
            lon_0=lon * u.deg, lat_0=lat * u.deg, sigma=sigma * u.deg, frame="galactic"
        ),
        name=name,
    )


truth = [point("pulsar", 0.5, 0.3, 8e-12, 2.3), gaussian("nebula", -0.1, -0.3, 0.2, 2e-11, 2.5)]
dataset = make_cube(truth, name="run", random_state=1, width=3, n_energies=6)
print(dataset)

# %%
# ## Models
# Start values are guesses. `FoVBackgroundModel` scales the predicted background of the dataset that it names;
# its tilt is frozen unless you free it. Longitudes are angles without bounds: the extended source may start
# on the wrong side of zero.
models = Models(
    [
        point("pulsar", 0.45, 0.25, 5e-12),
        gaussian("nebula", 0.05, -0.2, 0.1, 5e-12),
        FoVBackgroundModel(dataset_name="run"),
    ]
)
dataset.models = models
dataset.mask_fit = dataset.counts.geom.energy_mask(0.6 * u.TeV)
print(f"-2 ln L before the fit: {dataset.stat_sum():.2f}")

# %%
# ## Fit
# The same `Fit` as for spectra. Free parameters say how each source is treated, see
# [maps](../docs/maps.md).
result = Fit().run(dataset)
print(result)
print(result.models.to_parameters_table()["model", "name", "value", "error", "unit"])

# %%
# ## Residuals
# On the sky, smoothed, and as a spectrum. Positions are those fitted.
figure = plt.figure(figsize=(11, 4.5), layout="constrained")
dataset.plot_residuals(kwargs_spatial={"method": "diff/sqrt(model)"})
plt.show()

# %%
# ## What each source contributes
# Predicted counts of one model, with everything else left out.
for name in ("pulsar", "nebula"):
    predicted = dataset.npred_signal(model_names=[name])
    print(f"{name}: {predicted.data.sum():.1f} counts, {np.max(predicted.data):.2f} in the brightest bin")

# %%
# ## Freezing makes it fast
# With positions and sizes frozen, sources are convolved with the PSF once. The spectra are then fitted in a
# fraction of the time.
for name in ("pulsar", "nebula"):
    models[name].spatial_model.freeze()
print(f"-2 ln L = {Fit().run(dataset).total_stat:.2f}")

# %%
# ## Several cubes, or a cube and a spectrum
# Datasets of all kinds are fitted together; a source that both see is one model. Each cube has a background
# model of its own.
other = make_cube(truth, name="run-2", random_state=2, livetime=2 * u.h, width=3, n_energies=6)
datasets = Datasets([dataset, other])
datasets.models = Models([*models, FoVBackgroundModel(dataset_name="run-2")])
result = Fit().run(datasets)
print(f"{result.message} -2 ln L = {result.total_stat:.2f}")

# %%
# ## In one call
# `MapFit` takes the maps themselves. Its profiles and contours come with the other parameters refitted
# (`minos_…`) or fixed (`likelihood_…`).
pulsar, nebula = (models[name].copy(name=name) for name in ("pulsar", "nebula"))
fit = MapFit(
    model=[pulsar, nebula],
    counts=dataset.counts,
    exposure=dataset.exposure,
    background=dataset.background,
    psf=dataset.psf,
    edisp=dataset.edisp,
    mask=dataset.mask_fit,
)
fit.run()
figure, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
x, y = nebula.spectral_model.amplitude, pulsar.spectral_model.amplitude
for method, label in ((fit.minos_contour, "indices refitted"), (fit.likelihood_contour, "indices fixed")):
    contour = method(x, y, numpoints=24)
    ax.plot(contour["x"], contour["y"], label=label)
ax.plot(x.value, y.value, "k+")
ax.set_xlabel("amplitude of the nebula [cm⁻² s⁻¹ TeV⁻¹]")
ax.set_ylabel("amplitude of the pulsar [cm⁻² s⁻¹ TeV⁻¹]")
ax.legend()
plt.show()
