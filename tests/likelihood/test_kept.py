"""Source maps that are kept between fits: nothing that is changed may be overlooked."""

import astropy.units as u
import numpy as np
import pytest

from villard.datasets import MapDataset
from villard.irf import PSFMap
from villard.likelihood import kept
from villard.maps import Map, MapAxis, WcsGeom
from villard.modeling import Fit
from villard.modeling.models import GaussianSpatialModel, Models, PowerLawSpectralModel, SkyModel


def make() -> MapDataset:
    energy = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    true = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3, name="energy_true")
    geom = WcsGeom.create(skydir=(0, 0), binsz=0.1, npix=(30, 24), frame="galactic", axes=[energy])
    sky = geom.to_image().to_cube([true])
    dataset = MapDataset(
        counts=Map.from_geom(geom),
        exposure=Map.from_geom(sky, data=np.full(sky.data_shape, 1e13), unit="cm2 s"),
        background=Map.from_geom(geom, data=np.full(geom.data_shape, 0.2)),
        psf=PSFMap.from_gauss(true, sigma=0.1 * u.deg),
        name="cube",
    )
    shape = GaussianSpatialModel(sigma="0.4 deg", frame="galactic")
    shape.freeze()
    dataset.models = Models(
        [SkyModel(PowerLawSpectralModel(amplitude="3e-11 TeV-1 cm-2 s-1"), shape, name="s")]
    )
    dataset.counts.data = np.random.default_rng(0).poisson(dataset.npred().data).astype(float)
    Fit().run([dataset])  # from here on there is something to be kept
    return dataset


def change_exposure(dataset: MapDataset) -> None:
    dataset.exposure.data *= 1.5


def change_psf(dataset: MapDataset) -> None:
    wide = PSFMap.from_gauss(dataset.psf.energy_axis_true, dataset.psf.rad_axis, sigma=0.14 * u.deg)
    dataset.psf.psf_map.data[...] = wide.psf_map.data


def change_shape(dataset: MapDataset) -> None:
    dataset.models["s"].spatial_model.sigma.value = 0.5


def change_switch(dataset: MapDataset) -> None:
    dataset.models["s"].apply_irf = {"exposure": True, "psf": False, "edisp": True}


def change_method(dataset: MapDataset) -> None:
    dataset.psf_method = "exact"


@pytest.mark.parametrize("change", [change_exposure, change_psf, change_shape, change_switch, change_method])
def test_what_changes_in_place_changes_the_prediction(change):
    dataset = make()
    before = dataset.npred_signal().data
    change(dataset)
    after = dataset.npred_signal().data
    fresh = dataset.copy(name="fresh")
    fresh.psf_method = dataset.psf_method
    fresh.models = Models([m.copy(name=m.name) for m in dataset.models])
    assert np.max(np.abs(after - before)) > 1e-6
    np.testing.assert_allclose(after, fresh.npred_signal().data, rtol=1e-10)


def test_a_second_fit_from_the_same_start_is_the_same():
    dataset = make()
    index = dataset.models["s"].spectral_model.index
    values = []
    for _ in range(2):
        index.value = 2.0
        values.append(Fit().run([dataset]).total_stat)
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_only_so_much_is_kept(monkeypatch):
    monkeypatch.setattr(kept, "_MOST_BYTES", 1000)
    sources = {("source", i): (None, np.zeros(100)) for i in range(3)} | {"exposure": np.zeros(1000)}
    kept.limit_sources(sources)
    assert list(sources) == [("source", 2), "exposure"]
