"""Posteriors of the Crab nebula

Flux, index, curvature and position of the Crab nebula, and the background of each run, from four public runs
of H.E.S.S.: from the events themselves, from cubes of counts, and (without position) from off regions. Each
time the likelihood is that of the fit, and each parameter has a flat prior. `python crab_posterior.py 2000`
draws more samples than the default. Needs `$GAMMAPY_DATA` with the runs of H.E.S.S. DR1.
"""

import os
import sys
import time

import astropy.units as u
import matplotlib.pyplot as plt
from astropy.coordinates import SkyCoord

from villard.bayes import sample
from villard.data import DataStore
from villard.datasets import Datasets, EventDataset, MapDataset, SpectrumDataset
from villard.makers import MapDatasetMaker, ReflectedRegionsBackgroundMaker, SpectrumDatasetMaker
from villard.maps import MapAxis, RegionGeom, WcsGeom, WcsNDMap
from villard.modeling.models import (
    FoVBackgroundModel,
    LogParabolaSpectralModel,
    PointSpatialModel,
    SkyModel,
)
from villard.modeling.prior import UniformPrior

if "GAMMAPY_DATA" not in os.environ:
    print("This example needs the public runs of H.E.S.S.: set GAMMAPY_DATA (see `villard data list`)")
    raise SystemExit(0)
n_samples = int(sys.argv[1]) if len(sys.argv) > 1 else 200

# %%
# ## Data
# Above 0.9 TeV, within half a degree of the source. 15 bins of true energy per decade resolve the energy
# dispersion.
store = DataStore.from_dir("$GAMMAPY_DATA/hess-dl3-dr1")
observations = store.get_observations([23523, 23526, 23559, 23592])
crab = SkyCoord(83.6333, 22.0144, unit="deg")
energy = MapAxis.from_energy_bounds("0.9 TeV", "50 TeV", nbin=18)
true = MapAxis.from_energy_bounds("0.2 TeV", "100 TeV", nbin=40, name="energy_true")
geom = WcsGeom.create(skydir=crab, binsz=0.01, width=1.0, proj="TAN", axes=[energy])
region = RegionGeom.create("icrs;circle(83.6333, 22.0144, 0.11)", axes=[energy])
image = WcsGeom.create(skydir=crab, binsz=0.02, width=5, proj="TAN")
exclusion = WcsNDMap(image, data=image.separation(crab).deg > 0.3)


def make_dataset(kind, observation):
    """Return the data of one run."""
    name = str(observation.obs_id)
    if kind == "events":
        return EventDataset.from_observation(observation, geom, energy_axis_true=true)
    if kind == "cubes":
        empty = MapDataset.create(geom, energy_axis_true=true, name=name, binsz_irf=0.5)
        cube = MapDatasetMaker().run(empty, observation)
        cube.psf_method = "exact"
        return cube
    empty = SpectrumDataset.create(region, energy_axis_true=true, name=name)
    spectrum = SpectrumDatasetMaker(containment_correction=True).run(empty, observation)
    return ReflectedRegionsBackgroundMaker(exclusion_mask=exclusion).run(spectrum, observation)


# %%
# ## Models with priors
bounds = {"amplitude": (1e-11, 1e-10), "alpha": (0.5, 4), "beta": (-0.5, 1.5), "norm": (0.2, 3)}
bounds |= {"lon_0": (83.5, 83.75), "lat_0": (21.9, 22.13)}


def make_datasets(kind):
    """Return the data of all runs with their models."""
    datasets = Datasets([make_dataset(kind, observation) for observation in observations])
    spectrum = LogParabolaSpectralModel(
        amplitude=4e-11 * u.Unit("cm-2 s-1 TeV-1"), reference=1 * u.TeV, alpha=2.2, beta=0.2
    )
    position = (
        PointSpatialModel(lon_0=crab.ra, lat_0=crab.dec, frame="icrs") if kind != "off regions" else None
    )
    models = [SkyModel(spectrum, position, name="crab")]
    if kind != "off regions":
        models += [FoVBackgroundModel(dataset_name=dataset.name) for dataset in datasets]
    datasets.models = models
    for parameter in datasets.models.parameters.free_parameters:
        low, high = bounds[parameter.name]
        parameter.prior = UniformPrior(min=low, max=high)
    return datasets


# %%
# ## Posteriors
# Of a posterior with one bump, importance sampling is the fastest, and needs nothing else to be installed.
posteriors = {}
for kind in ("events", "cubes", "off regions"):
    datasets = make_datasets(kind)
    start = time.perf_counter()
    posteriors[kind] = sample(
        datasets, "importance", n_samples=n_samples, n_adapt=max(200, n_samples // 5), random_state=1
    )
    seconds = time.perf_counter() - start
    print(f"\n{kind}: {posteriors[kind].ess:.0f} effective samples in {seconds:.1f} s")
    print(posteriors[kind])

# %%
# ## Do they agree?
events = posteriors["events"]
print(f"\n{'':12}" + "".join(f"{kind:>32}" for kind in posteriors))
for name in ("amplitude", "alpha", "beta", "lon_0", "lat_0"):
    cells = []
    for posterior in posteriors.values():
        if name not in posterior.names:
            cells.append("")
            continue
        away = (posterior.mean[name] - events.mean[name]) / posterior.sd[name]
        cells.append(f"{posterior.mean[name]:.5g} ± {posterior.sd[name]:.2g} ({away:+.2f} σ)")
    print(f"{name:12}" + "".join(f"{cell:>32}" for cell in cells))

events.plot_corner(names=["amplitude", "alpha", "beta", "lon_0", "lat_0"])
plt.show()
