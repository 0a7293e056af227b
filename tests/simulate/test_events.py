"""Simulated events against integrals that use none of the code that draws them."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from scipy.integrate import trapezoid
from scipy.stats import kstest, norm

from villard.data import EventList, Observation
from villard.exceptions import DataError, ModelError
from villard.irf import Background3D, make_analytic_irfs
from villard.irf.fov import field_of_view
from villard.maps import Map, MapAxis
from villard.modeling.models import (
    ConstantSpatialModel,
    ExpDecayTemporalModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    IRFBackground,
    Models,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpatialModel,
    extend_template,
)
from villard.simulate import SimulatedEvents, expected_events, simulate_events

POINTING = SkyCoord(0, 0, unit="deg", frame="galactic")
BOUNDS = [0.2, 50] * u.TeV
N = 40_000


@pytest.fixture(scope="module")
def observation():
    return Observation.create(POINTING, livetime=5 * u.h, irfs=make_analytic_irfs(), obs_id=7)


def source(name="source", lon=0.8, lat=0.3, index=2.2, flux=1e-11):
    return SkyModel(
        PowerLawSpectralModel(index=index, amplitude=f"{flux} cm-2 s-1 TeV-1"),
        PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame="galactic"),
        name=name,
    )


def migra_probability(edisp, energy, offset, low, high):
    """Probabilities that true energies are reconstructed between two others, from the table alone."""
    axis = edisp.axes["migra"]
    density = edisp.evaluate(
        energy_true=energy[:, None] * u.TeV, migra=axis.center, offset=offset * u.deg
    ).value
    total = np.cumsum(np.pad(density * axis.bin_width.value, [(0, 0), (1, 0)]), axis=1)
    bounds = np.stack([low / energy, high / energy], axis=1)
    rows = [np.interp(b, axis.edges.value, t / t[-1]) for b, t in zip(bounds, total, strict=True)]
    return np.diff(rows, axis=1)[:, 0]


def expected(observation, model, offset, low=0.2, high=50.0):
    """Number of events that are reconstructed between two energies, as an integral over true ones."""
    energy = np.geomspace(0.02, 200, 3001)
    area = observation.aeff.evaluate(energy_true=energy * u.TeV, offset=offset * u.deg)
    rate = (area * model.spectral_model(energy * u.TeV)).to_value("s-1 TeV-1")
    values = rate * energy * migra_probability(observation.edisp, energy, offset, low, high)
    return trapezoid(values, np.log(energy)) * observation.livetime.to_value("s")


def test_number_of_a_point_source(observation):
    model = source(flux=2e-9)
    offset = float(model.position.separation(POINTING).deg)
    events = simulate_events(observation, model, 1, energy_bounds=BOUNDS)
    wanted = expected(observation, model, offset)
    assert abs(len(events) - wanted) < 4 * np.sqrt(wanted)
    assert wanted > 2e5


def test_energies_follow_flux_times_area(observation):
    model = source(lon=0.0, lat=0.0)
    events = simulate_events(observation, model, 2, {"source": N}, [0.02, 200] * u.TeV)
    true = events.true["ENERGY_TRUE"]
    grid = np.geomspace(0.02, 200, 4000)
    area = observation.aeff.evaluate(energy_true=grid * u.TeV, offset=0 * u.deg).value
    weight = migra_probability(observation.edisp, grid[::40], 0.0, 0.02, 200)
    density = area * model.spectral_model(grid * u.TeV).value * np.interp(grid, grid[::40], weight)
    total = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(grid))])
    assert kstest(true, lambda e: np.interp(e, grid, total / total[-1])).pvalue > 0.01


def test_energies_are_reconstructed_through_the_table(observation):
    events = simulate_events(observation, source(), 3, {"source": N}, [0.02, 200] * u.TeV)
    true, energy = np.asarray(events.true["ENERGY_TRUE"]), events.energy.to_value("TeV")
    chosen = (true > 1) & (true < 1.05)
    sigma, bias = np.hypot(0.07, 0.06 * 1.025**-0.45), 0.35 * (0.04 / 1.025) ** 2.6
    migra = energy[chosen] / true[chosen]
    # Bins of migra are 0.02 wide, within which the table is constant.
    assert migra.mean() == pytest.approx(1 + bias, abs=4 * sigma / np.sqrt(len(migra)))
    assert migra.std() == pytest.approx(np.hypot(sigma, 0.02 / np.sqrt(12)), rel=0.08)


def test_directions_follow_the_psf(observation):
    model = source()
    events = simulate_events(observation, model, 4, {"source": N}, BOUNDS)
    offset = model.position.separation(POINTING)
    true = np.asarray(events.true["ENERGY_TRUE"])
    rad = events.radec.separation(model.position).deg
    for low, high in ((0.3, 0.33), (1, 1.1), (5, 6)):
        chosen = (true > low) & (true < high)
        table = observation.psf.radial_tables([np.sqrt(low * high)] * u.TeV, [offset.deg] * u.deg)[0]
        assert kstest(rad[chosen], lambda r, t=table: t.containment(np.radians(r))).pvalue > 0.005
    # True directions are those of the source.
    sky = SkyCoord(events.true["RA_TRUE"], events.true["DEC_TRUE"])
    assert np.max(sky.separation(model.position).deg) < 1e-9


def test_azimuths_around_a_source_are_uniform(observation):
    model = source(lon=-1.5, lat=1.0)
    events = simulate_events(observation, model, 5, {"source": 5000}, BOUNDS)
    angle = model.position.icrs.position_angle(events.radec).rad
    assert kstest(angle / (2 * np.pi), "uniform").pvalue > 0.01


def test_a_gaussian_keeps_its_shape(observation):
    spatial = GaussianSpatialModel(lon_0="0.2 deg", lat_0="-0.1 deg", sigma="0.15 deg", frame="galactic")
    model = SkyModel(PowerLawSpectralModel(index=2), spatial, name="g")
    events = simulate_events(observation, model, 6, {"g": N}, BOUNDS)
    sky = SkyCoord(events.true["RA_TRUE"], events.true["DEC_TRUE"]).galactic
    lon = (sky.l.deg + 180) % 360 - 180
    # The area hardly changes within a degree from the axis.
    assert kstest(lon, norm(0.2, 0.15).cdf).pvalue > 0.01
    assert kstest(sky.b.deg, norm(-0.1, 0.15).cdf).pvalue > 0.01


def test_acceptance_falls_with_the_offset(observation):
    """An isotropic source has the profile of the effective area."""
    model = SkyModel(
        PowerLawSpectralModel(index=2.5), ConstantSpatialModel(value=1 / u.sr, frame="galactic"), name="iso"
    )
    events = simulate_events(observation, model, 7, {"iso": N}, BOUNDS, width=8 * u.deg)
    true = np.asarray(events.true["ENERGY_TRUE"])
    sky = SkyCoord(events.true["RA_TRUE"], events.true["DEC_TRUE"])
    chosen = (true > 0.9) & (true < 1.1) & (sky.separation(POINTING).deg < 3.5)
    offset = sky.separation(POINTING).deg[chosen]
    grid = np.linspace(0, 3.5, 400)
    area = observation.aeff.evaluate(energy_true=1 * u.TeV, offset=grid * u.deg).value
    density = area * np.sin(np.radians(grid))
    total = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    assert kstest(offset, lambda x: np.interp(x, grid, total / total[-1])).pvalue > 0.01


def template(energies, slope):
    axis = MapAxis.from_nodes(energies * u.TeV, name="energy_true", interp="log")
    cube = Map.create(
        skydir=POINTING, width=16, binsz=0.5, frame="galactic", axes=[axis], unit="cm-2 s-1 TeV-1 sr-1"
    )
    cube.data += (1e-8 * energies ** (-slope))[:, None, None]
    return TemplateSpatialModel(cube, normalize=False, interp_kwargs={"fill_value": None})


@pytest.mark.parametrize("width", [2, 4])
def test_a_template_goes_on_as_a_power_law(observation, width):
    """Beyond its energies, too; and its amplitude has nothing to do with the size of the field of view."""
    model = SkyModel(
        PowerLawNormSpectralModel(), template(np.array([0.05, 0.1, 0.2, 0.4]), 2.5), name="diffuse"
    )
    events = simulate_events(observation, model, 8, energy_bounds=[1, 50] * u.TeV, width=width * u.deg)
    # An isotropic source loses through the sides what it gains: true and reconstructed directions are alike.
    lon = np.radians(np.linspace(-width / 2, width / 2, 41))
    mid = 0.5 * (lon[1:] + lon[:-1])
    x, y = np.meshgrid(mid, mid)
    offset = np.degrees(np.arccos(np.cos(x) * np.cos(y)))
    solid = np.cos(y) * np.diff(lon)[0] ** 2
    flux = PowerLawSpectralModel(index=2.5, amplitude="1e-8 cm-2 s-1 TeV-1")
    values = np.unique(np.round(offset, 1))
    numbers = [
        expected(observation, SkyModel(flux), value, 1, 50) for value in np.linspace(0, values[-1] + 0.1, 4)
    ]
    per_offset = np.interp(offset, np.linspace(0, values[-1] + 0.1, 4), numbers)
    wanted = np.sum(per_offset * solid)
    assert wanted > 2000
    assert abs(len(events) - wanted) < 4 * np.sqrt(wanted) + 0.005 * wanted


def test_extended_template(observation):
    """With an index of its own; the template keeps its values where it has them."""
    old = template(np.array([0.05, 0.1, 0.2, 0.4]), 1.8)
    new = extend_template(old, 100 * u.TeV, index=2.7)
    at = (0.3 * u.deg, 0.2 * u.deg)
    assert new(*at, 0.3 * u.TeV).value == pytest.approx(old(*at, 0.3 * u.TeV).value)
    ratio = new(*at, 40 * u.TeV) / new(*at, 4 * u.TeV)
    assert ratio.to_value("") == pytest.approx(10**-2.7)
    assert extend_template(old.map, 100 * u.TeV).meta["index"] == pytest.approx(1.8)
    model = SkyModel(PowerLawNormSpectralModel(), new, name="diffuse")
    numbers = [
        expected_events(observation, model, bounds * u.TeV)["diffuse"]
        for bounds in (np.array([1, 10]), np.array([10, 60]))
    ]
    assert 0.005 < numbers[1] / numbers[0] < 0.1
    with pytest.raises(ModelError, match="above the last energy"):
        extend_template(old, 0.1 * u.TeV)
    with pytest.raises(ModelError, match="with the axis 'energy_true'"):
        extend_template(Map.create(npix=3), 1 * u.TeV)


def test_background_is_a_reconstructed_rate(observation):
    """Not multiplied by the area, not dispersed, not smeared; rates are integrated as the table has them."""
    events = simulate_events(observation, IRFBackground(name="CCR"), 9, energy_bounds=BOUNDS)
    grid = np.geomspace(0.2, 50, 400)
    lon = np.linspace(-3, 3, 61)
    mid = 0.5 * (lon[1:] + lon[:-1])
    x, y = np.meshgrid(mid, mid)
    rate = observation.bkg.evaluate(
        energy=grid[:, None, None] * u.TeV, fov_lon=x * u.deg, fov_lat=y * u.deg
    ).to_value("s-1 TeV-1 sr-1")
    solid = np.cos(np.radians(y)) * np.radians(0.1) ** 2
    per_energy = np.sum(rate * solid, axis=(1, 2)) * observation.ontime.to_value("s")
    steps = 0.5 * (per_energy[1:] + per_energy[:-1]) * np.diff(grid)
    assert abs(len(events) - steps.sum()) < 4 * np.sqrt(steps.sum()) + 2e-3 * steps.sum()
    total = np.concatenate([[0], np.cumsum(steps)])
    part = events.select_row_subset(slice(0, None, 20))
    energy = part.energy.to_value("TeV")
    assert kstest(energy, lambda e: np.interp(e, grid, total / total[-1])).pvalue > 0.01
    assert np.all(np.isnan(events.true["ENERGY_TRUE"]))
    assert np.all(np.isnan(events.true["RA_TRUE"]))
    # The profile in the field of view is that of the table.
    chosen = (energy > 0.2) & (energy < 0.25)
    profile = np.bincount(np.digitize(part.offset.deg[chosen], [0, 1, 2, 3]))[1:4]
    theta = np.hypot(x, y)
    k = np.searchsorted(grid, 0.22)
    wanted = np.array([np.sum((rate[k] * solid)[(theta >= a) & (theta < a + 1)]) for a in range(3)])
    wanted *= profile.sum() / wanted.sum()
    assert np.all(np.abs(profile - wanted) < 4.5 * np.sqrt(wanted))


@pytest.mark.parametrize("alignment", ["RADEC", "REVERSE_LON_RADEC", "ALTAZ"])
def test_orientation_of_the_background(observation, alignment):
    """Rates that are high on one side of the field of view give events there, whatever it is parallel to."""
    table = observation.bkg
    lon = table.axes["fov_lon"].center.value[:, None]
    bkg = Background3D(table.axes, table.data * (lon > 0), table.unit, meta={"FOVALIGN": alignment})
    site = EarthLocation.from_geodetic(-70.3, -24.6, 2100)
    irfs = {"aeff": observation.aeff, "bkg": bkg}
    start = Time("2027-07-01T02:00:00")
    other = Observation.create(POINTING, 20 * u.min, irfs, reference_time=start, location=site)
    events = simulate_events(other, IRFBackground(), 1, {"irf-background": 2000}, BOUNDS, 4 * u.deg)
    frame = None
    if alignment == "ALTAZ":
        frame = AltAz(obstime=other.tmid, location=site)
    fov_lon, _ = field_of_view(events.radec, POINTING.icrs, frame)
    sign = -1 if alignment == "REVERSE_LON_RADEC" else 1
    # The field of view turns by a few degrees in twenty minutes.
    assert np.mean(sign * fov_lon.value > 0) > (0.97 if alignment == "ALTAZ" else 0.995)
    bkg.meta["FOVALIGN"] = "SOMEHOW"
    with pytest.raises(DataError, match="aligned with 'SOMEHOW'"):
        simulate_events(other, IRFBackground(), 1)


def test_norm_of_the_background(observation):
    half = PowerLawNormSpectralModel(norm=0.5)
    numbers = [
        len(simulate_events(observation, model, 1, energy_bounds=[1, 10] * u.TeV, width=2 * u.deg))
        for model in (IRFBackground(), IRFBackground(half), FoVBackgroundModel("any", spectral_model=half))
    ]
    assert numbers[1] == pytest.approx(0.5 * numbers[0], abs=5 * np.sqrt(numbers[0]))
    assert numbers[2] == pytest.approx(numbers[1], abs=6 * np.sqrt(numbers[1]))


def test_components_are_labelled(observation, tmp_path):
    tree = {
        "signal": source(),
        "bkg": {"CCR": IRFBackground(), "local": Models([source("a", -1, 0), source("b", 1, 1, flux=5e-12)])},
    }
    numbers = {"signal": 60, "CCR": 50, "local": 90}
    events = simulate_events(observation, tree, 10, numbers)
    assert events.numbers == numbers
    assert events.components == ["signal", "CCR", "local"]
    assert len(events) == 200
    local = events.select_component("local")
    assert set(local.model_name) == {"a", "b"}
    assert len(local) == 90
    assert np.sum(local.model_name == "a") > np.sum(local.model_name == "b")
    assert np.all(np.diff(events.table["TIME"]) >= 0)
    events.write(tmp_path / "events.fits")
    again = SimulatedEvents.read(tmp_path / "events.fits")
    assert again.numbers == numbers
    assert again.field.frame == "galactic"
    assert again.field.energy_bounds == pytest.approx((0.1, 100))
    assert np.allclose(again.true["RA_TRUE"], events.true["RA_TRUE"], equal_nan=True)
    assert isinstance(again, EventList)
    assert again.pointing_radec.separation(POINTING).deg < 1e-9
    assert np.all(events.field.contains(events.energy.to_value("TeV"), _vectors(events)))


def _vectors(events):
    return events.field.from_frame(events.radec.ra.deg, events.radec.dec.deg, "icrs") * (1 - 1e-12)


def test_seed(observation):
    """A seed gives the same events, and a component the same ones whatever the others do."""
    tree = {"signal": source(), "CCR": IRFBackground()}
    first, again, other = (
        simulate_events(observation, tree, seed, numbers)
        for seed, numbers in (
            (1, {"signal": 30, "CCR": 40}),
            (1, {"signal": 30, "CCR": 40}),
            (1, {"signal": 30, "CCR": 80}),
        )
    )
    assert np.array_equal(first.table["ENERGY"], again.table["ENERGY"])
    assert np.array_equal(first.table["TIME"], again.table["TIME"])
    for events in (first, other):
        assert len(events.select_component("signal")) == 30
    same = [np.sort(events.select_component("signal").energy.value) for events in (first, other)]
    assert np.array_equal(*same)
    third = simulate_events(observation, tree, 2, {"signal": 30, "CCR": 40})
    assert not np.array_equal(first.table["ENERGY"], third.table["ENERGY"])


def test_times(observation):
    model = source()
    model.temporal_model = ExpDecayTemporalModel(t0="1 h", t_ref=observation.tstart.mjd * u.d)
    events = simulate_events(observation, model, 1, {"source": 4000})
    hours = np.asarray(events.table["TIME"]) / 3600
    assert kstest(hours, lambda t: -np.expm1(-t) / -np.expm1(-5.0)).pvalue > 0.01
    flat = simulate_events(observation, source(), 1, {"source": 4000})
    assert kstest(np.asarray(flat.table["TIME"]) / 18000, "uniform").pvalue > 0.01


def test_responses_that_are_not_to_be_applied(observation):
    model = source()
    model.apply_irf = {"exposure": True, "psf": False, "edisp": False}
    events = simulate_events(observation, model, 1, {"source": 100})
    assert np.allclose(events.energy.value, events.true["ENERGY_TRUE"], rtol=1e-14)
    assert np.max(events.radec.separation(model.position).deg) < 1e-9
    plain = Observation.create(POINTING, livetime=1 * u.h, irfs={"aeff": observation.aeff})
    assert len(simulate_events(plain, model, 1, {"source": 10})) == 10
    model.apply_irf = {"exposure": False, "psf": True, "edisp": True}
    with pytest.raises(ModelError, match="without exposure"):
        simulate_events(observation, model, 1)


def test_nothing_to_be_seen(observation):
    for model in (source("far", lon=40), source("dark", flux=0.0)):
        with pytest.raises(ModelError, match=f"component '{model.name}' has no events in the field of view"):
            simulate_events(observation, {"CCR": IRFBackground(), model.name: model}, 1)
    with pytest.raises(ModelError, match=r"expected to have up to .* events, more than"):
        simulate_events(observation, source("bright", flux=1e3), 1)
    # One of several that is elsewhere does no harm.
    both = {"local": [source("near"), source("far", lon=40)]}
    assert simulate_events(observation, both, 1, {"local": 10}).numbers == {"local": 10}
    # None are wanted: nothing needs to be there.
    assert len(simulate_events(observation, source("far", lon=40), 1, {"far": 0})) == 0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_events": {"sorce": 3}}, ModelError, "Did you mean 'source'"),
        ({"n_events": {"source": -3}}, DataError, "expected a number of events"),
        ({"n_events": {"source": 2.5}}, DataError, "expected a number of events"),
        ({"n_events": 3}, DataError, "numbers by component"),
        ({"energy_bounds": [10, 1] * u.TeV}, DataError, "lowest and highest"),
        ({"energy_bounds": [1, 10] * u.m}, DataError, "can't be used"),
        ({"energy_bounds": [1e4, 1e5] * u.TeV}, DataError, "no true energies"),
        ({"width": -1 * u.deg}, DataError, "expected widths"),
        ({"frame": "altaz"}, DataError, "expected one of the frames"),
        ({"random_state": "seed"}, DataError, "expected a seed"),
    ],
)
def test_wrong_settings(observation, settings, error, message):
    with pytest.raises(error, match=message):
        simulate_events(observation, source(), **settings)


def test_wrong_components(observation):
    for models, message in (
        ({}, "at least one component"),
        ({"a": {}}, "is empty"),
        ({"a": []}, "has no model"),
        ({"a": 3}, "expected sky models"),
        (SkyModel(PowerLawSpectralModel(), name="nowhere"), "has no spatial_model"),
    ):
        with pytest.raises(ModelError, match=message):
            simulate_events(observation, models, 1)
    empty = Observation.create(POINTING, livetime=1 * u.h)
    with pytest.raises(DataError, match="need an effective area"):
        simulate_events(empty, source(), 1)
    with pytest.raises(DataError, match="no table of background rates"):
        simulate_events(empty, IRFBackground(), 1)


def test_peek(observation):
    import matplotlib.pyplot as plt

    tree = {"signal": source(), "CCR": IRFBackground()}
    events = simulate_events(observation, tree, 1, {"signal": 30, "CCR": 40})
    figure = events.peek()
    assert [ax.get_title() for ax in figure.axes[1:3]] == ["All events", "Components"]
    plt.close(figure)
    assert "CCR                         40" in str(events)


def test_background_is_saved():
    model = IRFBackground(name="CCR", datasets_names=["a"])
    again = Models.from_dict(Models([model]).to_dict())[0]
    assert isinstance(again, IRFBackground)
    assert again.name == "CCR"
    assert again.datasets_names == ["a"]
    assert IRFBackground().datasets_names is None
    with pytest.raises(ModelError, match="unknown key"):
        IRFBackground.from_dict({"name": "CCR", "type": "IRFBackground", "nrom": 1})
