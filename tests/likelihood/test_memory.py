"""What a fit of maps says that it needs of memory."""

import logging
import subprocess
import sys

import pytest

from villard.likelihood import memory

# A process of its own, as the peak of this one has been reached by other tests.
SCRIPT = """
from pathlib import Path
import astropy.units as u
import numpy as np
from villard.datasets import MapDataset
from villard.irf import PSFMap
from villard.likelihood import bind
from villard.likelihood.memory import estimate_memory
from villard.maps import Map, MapAxis, WcsGeom
from villard.modeling.models import (
    FoVBackgroundModel, Models, PointSpatialModel, PowerLawSpectralModel, SkyModel
)

energy = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=16)
true = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=16, name="energy_true")
geom = WcsGeom.create(skydir=(0, 0), binsz=0.02, npix=(256, 256), frame="galactic", axes=[energy])
rng = np.random.default_rng(0)
background = np.broadcast_to(0.2, geom.data_shape).copy()
sky = geom.to_image().to_cube([true])
dataset = MapDataset(
    counts=Map.from_geom(geom, data=rng.poisson(background).astype(float)),
    exposure=Map.from_geom(sky, data=np.full(sky.data_shape, 1e13), unit="cm2 s"),
    background=Map.from_geom(geom, data=background),
    psf=PSFMap.from_gauss(true, sigma=0.05 * u.deg),
    name="cube",
)
models = [FoVBackgroundModel(dataset_name="cube")]
for i, (lon, lat) in enumerate(rng.uniform(-2, 2, (40, 2))):
    position = PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame="galactic")
    position.freeze()
    models.append(SkyModel(PowerLawSpectralModel(), position, name=str(i)))
dataset.models = Models(models)
likelihood = bind([dataset])
likelihood.fisher()
# Not ru_maxrss, which starts with that of the process that called.
(line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
peak = 1024 * int(line.split()[1])
print(estimate_memory([dataset.measurement()], dataset.models), peak)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux's /proc")
def test_estimate_is_right_to_a_factor_of_two():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    estimate, peak = (int(word) for word in run.stdout.split())
    assert 0.5 < estimate / peak < 2


@pytest.mark.parametrize(("free", "level"), [(100, logging.WARNING), (10**15, logging.INFO)])
def test_needs_are_logged_and_are_a_warning_where_memory_is_short(monkeypatch, caplog, free, level):
    class Cube(memory.MapMeasurement):
        def __init__(self) -> None:
            pass

    monkeypatch.setattr(memory, "estimate_memory", lambda measurements, models: 10**6)
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    with caplog.at_level(logging.INFO, logger=memory.__name__):
        memory.warn_of_memory([Cube()], [])
    (record,) = caplog.records
    assert record.levelno == level
    assert "GB" in record.getMessage()
