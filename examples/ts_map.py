"""Find sources: maps of excess and of test statistics

Which excess is significant, and is there a source that the models don't have?
"""

import astropy.units as u
import matplotlib.pyplot as plt

from villard.data.make_cube import make_cube
from villard.estimators import ExcessMapEstimator, TSMapEstimator, find_peaks
from villard.modeling.models import (
    FoVBackgroundModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)


def point(name, lon, lat, amplitude):
    """Return a point source with a power law of index 2.3."""
    return SkyModel(
        spectral_model=PowerLawSpectralModel(index=2.3, amplitude=f"{amplitude} cm-2 s-1 TeV-1"),
        spatial_model=PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame="galactic"),
        name=name,
    )


# %%
# ## Data
# A simulated cube with three sources, of which one is known.
truth = [
    point("known", 0.5, 0.3, 1e-11),
    point("bright", -0.6, -0.3, 6e-12),
    point("faint", -0.2, 0.8, 4e-12),
]
dataset = make_cube(truth, name="field", random_state=3, width=3)
dataset.models = Models([truth[0], FoVBackgroundModel(dataset_name="field")])

# %%
# ## Excess
# Counts within 0.1° of each pixel, against what is predicted there: quick, and without any assumption on
# a spectrum.
excess = ExcessMapEstimator(correlation_radius=0.1 * u.deg).run(dataset)
print(excess)

# %%
# ## Test statistic
# A point source with a power law is put at each pixel, and its norm is fitted. This uses PSF and spectrum, so
# it sees fainter sources. With `sum_over_energy_groups=False` all energies are fitted together.
maps = TSMapEstimator(sum_over_energy_groups=False, selection_optional="all").run(dataset)
figure = plt.figure(figsize=(11, 4.5), layout="constrained")
for i, (title, found) in enumerate((("Excess", excess), ("Point source", maps))):
    ax = figure.add_subplot(1, 2, i + 1, projection=found.geom.wcs)
    found.sqrt_ts.plot(ax=ax, cmap="RdBu_r", vmin=-8, vmax=8, add_cbar=True)
    ax.set_title(f"{title}: significance (σ)")
plt.show()

# %%
# ## Peaks
# What isn't in the models stands out. `villard tsmap` does the same from the command line.
peaks = find_peaks(maps.sqrt_ts, threshold=5, min_distance=0.2 * u.deg)
print(peaks)

# %%
# Flux and upper limit of a point source anywhere:
at = {"skycoord": truth[2].spatial_model.position}
flux, limit = (maps[name].to_image().get_by_coord(at) for name in ("flux", "flux_ul"))
print(f"flux {flux:.2e}, below {limit:.2e} (2 σ) {maps['flux'].unit:unicode}")
