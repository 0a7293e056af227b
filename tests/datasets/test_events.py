"""Unbinned likelihoods, checked against integrals and sums that are done in another way."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from villard.data import EventList, Observation
from villard.datasets import Datasets, EventDataset, MapDataset
from villard.exceptions import DataError, FileFormatError, ModelError
from villard.irf import PSF3D, Background2D, EffectiveAreaTable2D, EnergyDispersion2D
from villard.likelihood import bind
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpatialModel,
)

POINTING = SkyCoord(10, 20, unit="deg")
SIGMA = 0.08
LIVETIME = 20000.0
ENERGY = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=12)
GEOM = WcsGeom.create(skydir=POINTING, binsz=0.05, width=2, proj="TAN", axes=[ENERGY])


def make_irfs(fall=0.2):
    """Area that rises with energy and falls with offset, Gaussian PSF and energy dispersion."""
    true = MapAxis.from_energy_bounds("0.2 TeV", "60 TeV", nbin=100, name="energy_true")
    offset = MapAxis.from_nodes([0, 3] * u.deg, name="offset")
    area = np.outer(1e4 * true.center.value**0.5, [1, 1 - 3 * fall]) * u.m**2
    migra = MapAxis.from_bounds(0.2, 2.2, nbin=200, name="migra")
    edges = np.linspace(0, 0.6, 301)
    rad = MapAxis.from_edges(edges * u.deg, name="rad")
    psf = np.exp(-0.5 * (rad.center.value / SIGMA) ** 2) / (2 * np.pi * np.radians(SIGMA) ** 2)
    reco = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=40)
    rate = np.outer(0.02 * reco.center.value**-2.5, [1.0, 1.0]) * u.Unit("s-1 TeV-1 sr-1")
    return {
        "aeff": EffectiveAreaTable2D([true, offset], area),
        "edisp": EnergyDispersion2D.from_gauss(true, migra, offset, 0.15),
        "psf": PSF3D([true, offset, rad], np.broadcast_to(psf, (100, 2, 300)) * u.Unit("sr-1")),
        "bkg": Background2D([reco, offset], rate),
    }


def make_observation(n=300, seed=3, obs_id="run", fall=0.2):
    """Events around the pointing, some of them near the source, and two outside of the geometry."""
    rng = np.random.default_rng(seed)
    east, north = np.clip(rng.normal(size=(2, n)) * np.where(np.arange(n) < n // 3, SIGMA, 0.5), -0.7, 0.7)
    ra = 10.2 + east / np.cos(np.radians(20))
    energy = np.clip(1.01 * (1 - rng.random(n)) ** (-1 / 1.3), 1.01, 9.9)
    ra[-2:], energy[-1] = [14, 10], 50
    table = Table({"ENERGY": energy * u.TeV, "RA": ra * u.deg, "DEC": (20.1 + north) * u.deg})
    table["DEC"][:1] = 20.1
    return Observation.create(POINTING, LIVETIME * u.s, make_irfs(fall), obs_id, events=EventList(table))


def make_source(spatial=None, name="source"):
    spectrum = PowerLawSpectralModel(index=2.3, amplitude=2e-11 * u.Unit("TeV-1 s-1 cm-2"))
    if spatial is None:
        spatial = PointSpatialModel(lon_0=10.2 * u.deg, lat_0=20.1 * u.deg, frame="icrs")
    return SkyModel(spectrum, spatial, name=name)


@pytest.fixture(scope="module")
def base():
    true = MapAxis.from_energy_bounds("0.3 TeV", "30 TeV", nbin=48, name="energy_true")
    return EventDataset.from_observation(make_observation(), GEOM, energy_axis_true=true)


@pytest.fixture
def dataset(base):
    return base.copy(name="run")


def signal_density(model, energy, distance, offset):
    """Density (TeV-1 sr-1) of a point source at an event, by a fine sum over true energies."""
    true = np.geomspace(0.3, 50, 4001)
    area = 1e8 * true**0.5 * (1 - 0.2 * offset)
    migra = energy / true
    dispersion = np.exp(-0.5 * ((migra - 1) / 0.15) ** 2) / np.sqrt(2 * np.pi) / 0.15 / true
    flux = model.spectral_model(true * u.TeV).to_value("TeV-1 s-1 cm-2")
    psf = np.exp(-0.5 * (distance / SIGMA) ** 2) / (2 * np.pi * np.radians(SIGMA) ** 2)
    return LIVETIME * psf * np.trapezoid(flux * area * dispersion, true)


def test_content(dataset):
    assert len(dataset.events) == 298
    assert dataset.n_outside == 2
    assert dataset.n_events == 298
    assert dataset.counts.data.sum() == 298
    mask = GEOM.energy_mask(energy_min=2 * u.TeV)
    dataset.mask_fit = mask
    low = ENERGY.edges[np.argmax(mask.data[:, 0, 0])]
    assert dataset.n_events == np.sum(dataset.events.energy >= low)
    assert "Events outside the geometry     : 2" in str(dataset)


def test_background_alone(dataset):
    area = GEOM.to_image().solid_angle().to_value("sr").sum()
    total = LIVETIME * area * 0.02 * (1 - 10**-1.5) / 1.5
    density = LIVETIME * 0.02 * dataset.events.energy.value**-2.5
    expected = 2 * total - 2 * np.sum(np.log(density))
    assert dataset.stat_sum() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(dataset.event_densities().value, density, rtol=2e-4)


def test_point_source(dataset):
    model = make_source()
    dataset.models = [model]
    offset = model.spatial_model.position.separation(POINTING).deg
    distance = dataset.events.radec.separation(model.spatial_model.position).deg
    background = LIVETIME * 0.02 * dataset.events.energy.value**-2.5
    density = dataset.event_densities().value - background
    for i in range(0, 100, 9):
        expected = signal_density(model, dataset.events.energy.value[i], distance[i], offset)
        # Up to 2.5 sigma the table of the PSF is right to 0.2 %.
        if distance[i] < 2.5 * SIGMA:
            assert density[i] == pytest.approx(expected, rel=4e-3)
    # The total is the integral of the density over energy; all directions are inside.
    energy = np.geomspace(1, 10, 400)
    rate = [signal_density(model, e, 0.0, offset) * 2 * np.pi * np.radians(SIGMA) ** 2 for e in energy]
    total = dataset._predictions()[0] - dataset.npred_background().data.sum()
    assert total == pytest.approx(np.trapezoid(rate, energy), rel=2e-3)
    # So say the pixels.
    assert dataset.npred_signal().data.sum() == pytest.approx(total, rel=2e-3)


def test_light_that_is_not_selected(dataset):
    model = make_source()
    x = SkyCoord(10.2, 20.1, unit="deg")
    inside = GEOM.separation(x).deg < 0.1
    dataset.mask_fit = WcsNDMap(GEOM, data=np.broadcast_to(inside, GEOM.data_shape).copy())
    dataset.models = [model]
    before = dataset._predictions()[0]
    dataset.mask_fit = None
    share = (before - _background(dataset, inside)) / (dataset._predictions()[0] - _background(dataset))
    # A circle made of pixels.
    area = GEOM.to_image().solid_angle().to_value("deg2")[inside].sum()
    assert share == pytest.approx(1 - np.exp(-0.5 * area / np.pi / SIGMA**2), rel=0.02)


def _background(dataset, inside=None):
    data = dataset.npred_background().data
    return data.sum() if inside is None else data[:, inside].sum()


def extended():
    spatial = GaussianSpatialModel(lon_0=10.2 * u.deg, lat_0=20.1 * u.deg, sigma=0.15 * u.deg, frame="icrs")
    return make_source(spatial)


def test_extended_source():
    dataset = EventDataset.from_observation(make_observation(fall=0), GEOM)
    model = extended()
    dataset.models = [model]
    distance = dataset.events.radec.separation(model.spatial_model.position).deg
    background = LIVETIME * 0.02 * dataset.events.energy.value**-2.5
    density = dataset.event_densities().value - background
    width = np.hypot(SIGMA, 0.15)
    for i in range(0, 100, 9):
        point = signal_density(model, dataset.events.energy.value[i], 0.0, 0.0) * SIGMA**2
        expected = point / width**2 * np.exp(-0.5 * (distance[i] / width) ** 2)
        if distance[i] < 2 * width:
            assert density[i] == pytest.approx(expected, rel=4e-3)


def test_template_is_the_same_as_its_shape(dataset):
    model = extended()
    image = WcsGeom.create(skydir=(10.2, 20.1), binsz=0.02, width=2, proj="TAN")
    values = model.spatial_model.evaluate_geom(image)
    template = TemplateSpatialModel(WcsNDMap(image, data=values.value, unit=values.unit), normalize=False)
    dataset.models = [model]
    expected, total = dataset.event_densities().value, dataset._predictions()[0]
    dataset.models = [make_source(template)]
    # The template is averaged over pixels, which are a third as wide as it.
    np.testing.assert_allclose(dataset.event_densities().value, expected, rtol=0.05)
    assert dataset._predictions()[0] == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize("kind", ["point", "extended"])
def test_derivatives(dataset, kind):
    model = make_source() if kind == "point" else extended()
    background = FoVBackgroundModel(dataset_name="run")
    background.spectral_model.tilt.frozen = False
    dataset.models = [model, background]
    likelihood = bind([dataset])
    theta = likelihood.theta
    value, gradient = likelihood.value_and_gradient()
    assert value == pytest.approx(dataset.stat_sum(), rel=1e-10)
    hessian = likelihood.hessian()
    for i in range(len(theta)):
        step = 1e-6 * max(abs(theta[i]), 0.1) * np.eye(len(theta))[i]
        up, down = (likelihood.value_and_gradient(theta + s) for s in (step, -step))
        assert (up[0] - down[0]) / (2 * step[i]) == pytest.approx(gradient[i], rel=2e-4, abs=2e-3)
        numeric = (up[1] - down[1]) / (2 * step[i])
        np.testing.assert_allclose(numeric, hessian[i], rtol=2e-3, atol=2e-4 * np.abs(hessian).max())


def test_bound_in_classes(dataset):
    """What is frozen changes nothing but the work: all ways lead to one statistic."""
    model, background = make_source(), FoVBackgroundModel(dataset_name="run")
    dataset.models = [model, background]
    values = []
    for free in (["index"], ["amplitude"]):
        for parameter in model.parameters:
            parameter.frozen = parameter.name not in free
        values.append(bind([dataset]).stat())
    np.testing.assert_allclose(values, dataset.stat_sum(), rtol=1e-10)


def test_tilt_and_position_of_the_background(dataset):
    background = FoVBackgroundModel(dataset_name="run")
    background.parameters["norm"].value, background.parameters["tilt"].value = 1.2, 0.3
    dataset.models = [background]
    energy = dataset.events.energy.value
    expected = LIVETIME * 0.02 * 1.2 * energy**-2.8
    np.testing.assert_allclose(dataset.event_densities().value, expected, rtol=5e-4)


def test_without_energy_dispersion(dataset):
    model = make_source()
    model.apply_irf["edisp"] = False
    dataset.models = [model]
    background = LIVETIME * 0.02 * dataset.events.energy.value**-2.5
    density = (dataset.event_densities().value - background)[0]
    offset = model.spatial_model.position.separation(POINTING).deg
    energy = dataset.events.energy.value[0]
    distance = dataset.events.radec.separation(model.spatial_model.position).deg[0]
    psf = np.exp(-0.5 * (distance / SIGMA) ** 2) / (2 * np.pi * np.radians(SIGMA) ** 2)
    flux = 2e-11 * energy**-2.3 * 1e8 * energy**0.5 * (1 - 0.2 * offset)
    assert density == pytest.approx(LIVETIME * psf * flux, rel=6e-3)


def test_several_datasets(dataset):
    """Beside a cube, with shared parameters."""
    other = EventDataset.from_observation(make_observation(n=250, seed=5, obs_id="two"), GEOM)
    cube = other.to_map_dataset(name="cube")
    model = make_source()
    for parameter in model.spatial_model.parameters:
        parameter.frozen = True
    together = Datasets([dataset, other, cube])
    together.models = [model]
    assert bind(together).stat() == pytest.approx(together.stat_sum(), rel=1e-10)


def test_file_and_slices(dataset, tmp_path):
    dataset.models = [make_source()]
    expected = dataset.stat_sum()
    dataset.write(tmp_path / "events.fits")
    again = EventDataset.read(tmp_path / "events.fits")
    assert again.name == "run"
    assert again.n_outside == 2
    again.models = [make_source()]
    assert again.stat_sum() == pytest.approx(expected, rel=1e-9)
    both = Datasets([again])
    both.write(tmp_path / "datasets.yaml")
    assert Datasets.read(tmp_path / "datasets.yaml")["run"].n_events == 298
    half = dataset.slice_by_energy(2 * u.TeV, 5 * u.TeV, name="half")
    assert half.n_events == np.sum(
        (dataset.events.energy >= half.counts.geom.axes[0].edges[0])
        & (dataset.events.energy < half.counts.geom.axes[0].edges[-1])
    )
    assert half.n_events + half.n_outside == 300
    small = dataset.cutout(POINTING, 1 * u.deg, name="small")
    small.models = dataset.models
    assert small.n_events < 298
    assert np.isfinite(small.stat_sum())
    dataset.write(tmp_path / "cube.fits", overwrite=True)
    assert isinstance(dataset.to_map_dataset(), MapDataset)
    dataset.to_map_dataset().write(tmp_path / "binned.fits")
    with pytest.raises(FileFormatError, match="EVENTS"):
        EventDataset.read(tmp_path / "binned.fits")


def test_plots(dataset):
    import matplotlib.pyplot as plt

    dataset.models = [make_source()]
    dataset.peek()
    dataset.plot_residuals_spatial()
    dataset.events.peek()
    plt.close("all")


def test_bad_input(dataset):
    with pytest.raises(DataError, match="expected events, and counts"):
        EventDataset(counts=WcsNDMap(GEOM))
    with pytest.raises(DataError, match="there is no empty one"):
        EventDataset.create(GEOM)
    away = WcsGeom.create(skydir=(50, 20), binsz=0.1, width=2, axes=[ENERGY])
    with pytest.raises(DataError, match="observation run has no exposure anywhere in the geometry"):
        EventDataset.from_observation(make_observation(), away)
    # The tables reach to 4.5 deg.
    observation = make_observation()
    observation.events.table["RA"][-2] = 16
    observation = observation.copy(events=EventList(observation.events.table))
    wide = WcsGeom.create(skydir=POINTING, binsz=0.2, width=14, proj="TAN", axes=[ENERGY])
    everything = EventDataset.from_observation(observation, wide)
    assert everything.n_events == 299
    with pytest.raises(DataError, match="1 of 299 events of the fit are outside of the responses"):
        everything.stat_sum()
    near = np.broadcast_to(wide.separation(POINTING).deg < 3, wide.data_shape).copy()
    everything.mask_fit = WcsNDMap(wide, data=near)
    assert np.isfinite(everything.stat_sum())
    with pytest.raises(DataError, match="put the datasets into Datasets"):
        dataset.stack(dataset)
    with pytest.raises(DataError, match="simulate_events"):
        dataset.fake()
    parts = dataset._parts()
    parts["edisp"] = parts["edisp"].to_edisp_kernel_map(ENERGY)
    with pytest.raises(DataError, match="edisp must be an EDispMap"):
        EventDataset(**parts)
    parts = dataset._parts() | {"psf": None}
    blind = EventDataset(**parts, name="blind")
    blind.models = [make_source()]
    with pytest.raises(ModelError, match="a point source needs a PSF"):
        blind.stat_sum()
    nothing = Observation.create(POINTING, livetime=1 * u.s, irfs=make_irfs())
    with pytest.raises(DataError, match="has no events"):
        EventDataset.from_observation(nothing, GEOM)
