"""Components of events: densities against independent integrals, losses, recovery, and bad input.

The first tests are for the faults of a published tool: widths of logarithmic bins, background that is folded
with the response again, losses at the edges, events outside.
"""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.bayes import EventMixture, ParameterGrid
from villard.bayes.contraction import TrueGrid, contract_energy, contract_space
from villard.bayes.event_work import ChunkWork, FreeParameter, plan_leaf
from villard.bayes.images import SkyPixels
from villard.bayes.response import EventResponse, ResponseBounds
from villard.data import EventList, Observation, Observations
from villard.exceptions import DataError, ModelError, ParameterError, UnitsError
from villard.irf import make_analytic_irfs
from villard.maps import Map, MapAxis
from villard.modeling.models import (
    IRFBackground,
    PowerLawNormSpectralModel,
    SkyModel,
    TemplateSpatialModel,
)
from villard.modeling.prior import UniformPrior
from villard.simulate import expected_events, simulate_events
from villard.simulate.event_field import FieldOfView

CENTER = SkyCoord(0, 0, unit="deg", frame="galactic")
BOUNDS, WIDTH = [0.2, 20] * u.TeV, 3 * u.deg


@pytest.fixture(scope="module")
def observation() -> Observation:
    return Observation.create(pointing=CENTER, livetime=2 * u.h, irfs=make_analytic_irfs())


def make_source(kind: str, name: str, lon: float = 0.0, lat: float = 0.0, **values: Any) -> SkyModel:
    model = SkyModel.create("pl", kind, name=name)
    model.spatial_model.frame = "galactic"
    model.spatial_model.lon_0, model.spatial_model.lat_0 = lon * u.deg, lat * u.deg
    for key, value in values.items():
        model.parameters[key].quantity = value
    return model


@pytest.fixture(scope="module")
def pixels(observation: Observation) -> SkyPixels:
    field = FieldOfView.create(CENTER, WIDTH, BOUNDS, "galactic")
    return SkyPixels(EventResponse(observation, field, ResponseBounds()))


MODELS = {
    "gauss": make_source("gauss", "gauss", 0.3, 0.2, sigma=0.3 * u.deg),
    "point": make_source("point", "point", -0.5, 0.4),
    "edge": make_source("gauss", "edge", 1.45, 0.0, sigma=0.2 * u.deg),
    "border": make_source("point", "border", 1.49, -0.3),
    "background": IRFBackground(),
}


def densities(pixels: SkyPixels, model: Any, energy: Any, lon: Any, lat: Any) -> tuple[Any, float]:
    """Densities of events under a model, normalised to its expected number, and that number."""
    plan = plan_leaf("leaf", [model], pixels, pixels.response.observation, [], {})
    vectors = pixels.response.field.from_local(lon, lat)
    order = np.argsort(energy, kind="stable")
    part = ChunkWork(pixels, [plan])(("", energy[order], vectors[order]))[0]["table"][0]
    table = np.empty(len(energy))
    table[order] = part
    return table / plan.expected()[0], float(plan.expected()[0])


@pytest.mark.parametrize("name", MODELS)
def test_densities_integrate_to_one_over_the_bounds(pixels: SkyPixels, name: str) -> None:
    """So the widths of bins are right, and what is lost at edges isn't made up for."""
    edges = np.geomspace(*BOUNDS.to_value("TeV"), 41)
    energy = np.sqrt(edges[1:] * edges[:-1])
    step = 0.04
    x = np.arange(-1.5 + step / 2, 1.5, step)
    grid = [a.ravel() for a in np.meshgrid(energy, x, x, indexing="ij")]
    width = np.repeat(np.diff(edges), len(x) ** 2) * np.radians(step) ** 2 * np.cos(np.radians(grid[2]))
    density, _ = densities(pixels, MODELS[name], *grid)
    # The sum over pixels is as good as 1 % where the edge cuts through a point.
    assert density @ width == pytest.approx(1, rel=0.015 if name == "border" else 5e-3)


@pytest.mark.parametrize("name", ["gauss", "point", "edge"])
def test_densities_against_sums_over_pixels(pixels: SkyPixels, name: str) -> None:
    """The integral over true energy and direction, by the responses' own interpolation."""
    model, response = MODELS[name], pixels.response
    observation = response.observation
    rng = np.random.default_rng(0)
    energy = np.exp(rng.uniform(np.log(0.3), np.log(10), 4))
    place = [model.spatial_model.lon_0.value, model.spatial_model.lat_0.value]
    lon, lat = (np.clip(c + rng.normal(0, 0.15, 4), -1.49, 1.49) for c in place)
    true = np.geomspace(0.15, 30, 400)
    step = 0.025
    if name == "point":
        x, y, step = np.array([place[0]]), np.array([place[1]]), 1.0
        shape = np.ones(1)
    else:
        axis = np.arange(-0.9, 0.9001, step)
        x, y = (a.ravel() + c for a, c in zip(np.meshgrid(axis, axis), place, strict=True))
        inside = np.hypot(x - place[0], y - place[1]) < 0.9
        x, y = x[inside], y[inside]
        values = model.spatial_model(x * u.deg, y * u.deg).to_value("deg-2")
        shape = values
    grid = TrueGrid(true, x, y, true * np.log(true[1] / true[0]), np.full(len(x), step**2))

    def edisp(e: Any, e_true: Any, offset: Any) -> Any:
        table = observation.edisp.normalized
        migra = e / e_true * u.one
        return table.evaluate(energy_true=e_true * u.TeV, migra=migra, offset=offset * u.deg).value / e_true

    def psf(angle: Any, e_true: Any, offset: Any) -> Any:
        values = observation.psf.evaluate(
            energy_true=e_true * u.TeV, offset=offset * u.deg, rad=angle * u.deg
        )
        return values.to_value("sr-1")

    area = response.area(true[:, np.newaxis], grid.offset)
    result = contract_space(
        energy, lon, lat, grid, (area * shape)[np.newaxis], edisp, psf, dex=0.25, angle=0.6
    )
    spectrum = model.spectral_model(true * u.TeV).to_value("cm-2 s-1 TeV-1")
    expected = contract_energy(result.kernels[0], grid.energy_weight, spectrum) * response.livetime
    found, number = densities(pixels, model, energy, lon, lat)
    np.testing.assert_allclose(found * number, expected, rtol=0.01)


def test_background_is_the_reconstructed_rate(pixels: SkyPixels) -> None:
    """Neither multiplied with the area nor folded with the response: it is the table itself."""
    table = pixels.response.observation.bkg
    energy, lon = np.array([0.3, 1.0, 5.0]), np.array([0.0, 0.5, -1.2])
    found, number = densities(pixels, MODELS["background"], energy, lon, np.zeros(3))
    coords = {"energy": energy * u.TeV}
    if "offset" in table.required_axes:
        coords["offset"] = np.abs(lon) * u.deg
    else:
        coords |= {"fov_lon": lon * u.deg, "fov_lat": np.zeros(3) * u.deg}
    rate = table.evaluate(**coords).to_value("s-1 TeV-1 sr-1")
    ontime = pixels.response.observation.ontime.to_value("s")
    np.testing.assert_allclose(found * number, rate * ontime, rtol=1e-3)


def test_losses_at_the_edge_are_counted(observation: Observation, pixels: SkyPixels) -> None:
    """A source on the edge has fewer events than the same one in a wider field: as simulated ones show."""
    edge = MODELS["edge"].copy()
    edge.parameters["amplitude"].value = 4e-11
    _, number = densities(pixels, edge, np.ones(1), np.zeros(1), np.zeros(1))
    wide = FieldOfView.create(CENTER, 6 * u.deg, BOUNDS, "galactic")
    other = SkyPixels(EventResponse(observation, wide, ResponseBounds()))
    _, complete = densities(other, edge, np.ones(1), np.zeros(1), np.zeros(1))
    assert 0.5 < number / complete < 0.7
    counts = [len(simulate_events(observation, [edge], s, None, BOUNDS, WIDTH)) for s in range(4)]
    assert abs(np.mean(counts) - number) < 4 * np.sqrt(number / 4) + 0.003 * number


@pytest.mark.parametrize("width", [2, 4])
def test_numbers_have_nothing_to_do_with_the_field_of_view(observation: Observation, width: float) -> None:
    """Amplitudes of diffuse emission, alone or with others, mean what they do elsewhere, in any field."""
    axis = MapAxis.from_nodes([0.05, 500] * u.TeV, name="energy_true", interp="log")
    unit = "cm-2 s-1 TeV-1 sr-1"
    cube = Map.create(skydir=CENTER, width=16, binsz=0.5, frame="galactic", axes=[axis], unit=unit)
    cube.data += np.array([1e-8 * 0.05**-2.5, 1e-8 * 500**-2.5])[:, np.newaxis, np.newaxis]
    diffuse = SkyModel(
        PowerLawNormSpectralModel(), TemplateSpatialModel(cube, normalize=False), name="diffuse"
    )
    field = FieldOfView.create(CENTER, width * u.deg, BOUNDS, "galactic")
    pixels = SkyPixels(EventResponse(observation, field, ResponseBounds()))
    for models in ([diffuse], [diffuse, MODELS["gauss"]]):
        plan = plan_leaf("leaf", models, pixels, observation, [], {})
        wanted = expected_events(observation, {"leaf": models}, BOUNDS, width * u.deg)["leaf"]
        assert plan.expected()[0] == pytest.approx(wanted, rel=0.01)


@pytest.fixture(scope="module")
def components() -> dict[str, Any]:
    source = make_source("gauss", "source", 0.2, 0.1, sigma=0.3 * u.deg)
    source.parameters["index"].prior = UniformPrior(min=1, max=4)
    return {"source": source, "bkg": {"CCR": IRFBackground(), "near": [MODELS["point"]]}}


@pytest.fixture(scope="module")
def events(observation: Observation, components: dict[str, Any]) -> Any:
    numbers = {"source": 1500, "CCR": 1200, "near": 300}
    return simulate_events(observation, components, 3, numbers, BOUNDS, WIDTH)


@pytest.fixture(scope="module")
def mixture(observation: Observation, components: dict[str, Any], events: Any) -> EventMixture:
    return EventMixture(events, observation, components)


def test_truths_are_found(mixture: EventMixture) -> None:
    assert mixture.names == ["source", "CCR", "index"]
    posterior = mixture.sample("importance", random_state=1, n_samples=8000)
    truths = {"source": 0.5, "CCR": 0.8, "near": 0.2, "index": 2.0}
    for name, value in truths.items():
        assert abs(posterior.mean[name] - value) < 3 * posterior.sd[name], name
    assert posterior.sd["source"] < 0.02
    assert max(mixture.truncation.values()) < 2e-4
    assert "Integrals cut away" in str(mixture)


def test_grid_is_the_continuous_likelihood_at_its_values(
    mixture: EventMixture, observation: Observation, components: dict[str, Any], events: Any
) -> None:
    grid = ParameterGrid(bounds=(1.5, 2.5), bins=5, scale="lin")
    tabulated = EventMixture(events, observation, components, grids={"index": grid})
    theta = np.array([[0.5, 0.8, value] for value in grid.values])
    np.testing.assert_allclose(tabulated.log_likelihood(theta), mixture.log_likelihood(theta), rtol=1e-9)
    assert tabulated.expected("source") == pytest.approx(mixture.expected("source"))
    step = np.diag([1e-6, 1e-6, 1e-5])
    numeric = [
        (mixture.log_posterior(theta[2] + s) - mixture.log_posterior(theta[2] - s)) / (2 * np.abs(s).max())
        for s in step
    ]
    np.testing.assert_allclose(mixture.gradient(theta[2]), numeric, rtol=1e-4, atol=1e-2)


def test_background_with_a_tilt(observation: Observation) -> None:
    """Evaluated in each call, it is the background of that tilt, and a grid of them; tilts can be sampled."""

    def components(tilt: float, sampled: bool) -> dict[str, Any]:
        background = IRFBackground()
        background.parameters["tilt"].value = tilt
        background.parameters["norm"].frozen = True
        if sampled:
            background.parameters["tilt"].frozen = False
            background.parameters["tilt"].prior = UniformPrior(min=-0.5, max=0.5)
        return {"CCR": background, "source": MODELS["gauss"]}

    numbers = {"CCR": 1200, "source": 800}
    events = simulate_events(observation, components(0.15, False), 5, numbers, BOUNDS, WIDTH)
    mixture = EventMixture(events, observation, components(0.0, True))
    assert mixture.names == ["CCR", "tilt"]
    values = np.array([-0.3, 0.0, 0.2])
    found = mixture.log_likelihood(np.column_stack([[0.4, 0.5, 0.6], values]))
    for share, value, number in zip([0.4, 0.5, 0.6], values, found, strict=True):
        fixed = EventMixture(events, observation, components(value, False))
        assert fixed.log_likelihood([share]) == pytest.approx(number, abs=0.1)
        at = EventMixture(events, observation, components(value, True))
        assert at.expected("CCR") == pytest.approx(fixed.expected("CCR"), rel=1e-4)
    grid = ParameterGrid(values, scale="lin")
    tabulated = EventMixture(events, observation, components(0.0, True), grids={"tilt": grid})
    theta = np.column_stack([[0.4, 0.5, 0.6], values])
    np.testing.assert_allclose(tabulated.log_likelihood(theta), found, rtol=0, atol=0.1)
    posterior = mixture.sample("importance", random_state=1, n_samples=4000)
    assert abs(posterior.mean["tilt"] - 0.15) < 3 * posterior.sd["tilt"]
    assert posterior.sd["tilt"] < 0.06


def test_position_on_a_grid(observation: Observation, pixels: SkyPixels) -> None:
    """Morphologies are folded anew at each value; the parameters are left as they were."""
    source = make_source("point", "source", 0.1, 0.0)
    lon = source.spatial_model.lon_0
    grids = {"lon_0": ParameterGrid([-0.2, 0.1, 0.3], scale="lin")}
    plan = plan_leaf("a", [source], pixels, observation, [FreeParameter("lon_0", lon)], grids)
    assert lon.value == 0.1
    vectors = pixels.response.field.from_local(np.array([0.3]), np.array([0.0]))
    table = ChunkWork(pixels, [plan])(("", np.array([2.0]), vectors))[0]["table"][:, 0]
    assert np.argmax(table) == 2


def test_chunks_are_kept_and_read(
    observation: Observation,
    components: dict[str, Any],
    events: Any,
    mixture: EventMixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("villard.bayes.event_mixture.CHUNK", 700)
    theta = np.array([0.5, 0.8, 2.1])
    first = EventMixture(events, observation, components, folder=tmp_path)
    assert len(list(tmp_path.rglob("piece-*.pickle"))) == 5
    assert first.log_likelihood(theta) == pytest.approx(mixture.log_likelihood(theta), abs=2e-3)

    def fail(self: ChunkWork, chunk: Any) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr(ChunkWork, "__call__", fail)
    again = EventMixture(events, observation, components, folder=tmp_path)
    assert again.log_likelihood(theta) == first.log_likelihood(theta)
    with pytest.raises(DataError, match="holds a piece of other work"):
        EventMixture(
            events, observation, {"source": components["source"], "x": IRFBackground()}, folder=tmp_path
        )


def test_chunks_run_in_other_processes(mixture: EventMixture, pixels: SkyPixels) -> None:
    """What is sent to workers gives the same numbers, and is small: no responses, models or events."""
    energy, vectors = np.geomspace(0.3, 10, 40), pixels.response.field.from_local(np.linspace(-1, 1, 40), 0.1)
    for work in (*mixture._works, ChunkWork(pixels, [plan_of(model, pixels) for model in MODELS.values()])):
        sent = pickle.dumps(work)
        assert len(sent) < 60e6
        here, there = (each(("", energy, vectors)) for each in (work, pickle.loads(sent)))
        for a, b in zip(here, there, strict=True):
            np.testing.assert_array_equal(a["table"], b["table"])
            np.testing.assert_array_equal(a["kernels"], b["kernels"])


def test_chunks_in_a_pool_of_processes(
    observation: Observation, components: dict[str, Any], events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("villard.bayes.event_mixture.CHUNK", 100)
    few = events.select_row_subset(slice(0, 200))
    here = EventMixture(few, observation, components)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        there = EventMixture(few, observation, components, executor=executor)
    theta = np.array([0.5, 0.8, 2.1])
    assert there.log_likelihood(theta) == here.log_likelihood(theta)


def plan_of(model: Any, pixels: SkyPixels) -> Any:
    return plan_leaf(model.name, [model], pixels, pixels.response.observation, [], {})


def test_chunks_of_other_sources_differ(pixels: SkyPixels) -> None:
    """Also where their numbers of events are the same, as on both sides of the pointing."""
    left, right = (make_source("point", "a", lon) for lon in (-0.5, 0.5))
    prints = {ChunkWork(pixels, [plan_of(model, pixels)]).fingerprint for model in (left, right)}
    assert len(prints) == 2


def test_several_observations(observation: Observation, components: dict[str, Any], events: Any) -> None:
    half = np.arange(len(events)) < 1000
    lists = [events.select_mask(half), events.select_mask(~half)]
    for each in lists:
        assert each.field.width == (3.0, 3.0)
    pair = Observations(observation.copy(obs_id=name) for name in "01")
    joint = EventMixture(lists, pair, components)
    theta = np.array([0.5, 0.8, 2.0])
    singles = [EventMixture(each, observation, components).log_likelihood(theta) for each in lists]
    assert joint.log_likelihood(theta) == pytest.approx(sum(singles), rel=1e-10)
    apart = EventMixture(lists, [observation] * 2, components, separate=["bkg"])
    assert apart.names == ["source", "CCR[0]", "CCR[1]", "index"]
    own = EventMixture(lists, [observation] * 2, components, separate=["index"])
    assert own.names == ["source", "CCR", "index[0]", "index[1]"]
    assert own.log_likelihood([0.5, 0.8, 2.0, 2.0]) == pytest.approx(joint.log_likelihood(theta), rel=1e-12)
    others = [EventMixture(e, observation, components) for e in lists]
    expected = sum(m.log_likelihood([0.5, 0.8, index]) for m, index in zip(others, (1.8, 2.3), strict=True))
    assert own.log_likelihood([0.5, 0.8, 1.8, 2.3]) == pytest.approx(expected, rel=1e-10)


def test_bounds_by_the_user_tell_what_they_cut(observation: Observation) -> None:
    field = FieldOfView.create(CENTER, WIDTH, BOUNDS, "galactic")
    response = EventResponse(observation, field, ResponseBounds(dex=0.1, angle=0.1))
    cut = response.truncation
    assert 0.01 < cut["angle"] < 1
    assert 0.001 < cut["energy"] < 1


def with_event(events: Any, **values: float) -> EventList:
    table = events.table.copy()
    for name, value in values.items():
        table[name][5] = value
    return type(events)(table)


def test_bounds_without_the_right_unit(
    observation: Observation, components: dict[str, Any], events: Any
) -> None:
    for settings in ({"angle": 1 * u.TeV}, {"angle": 0.5}, {"bin_size": 1 * u.s}):
        with pytest.raises(UnitsError, match=f"expected {next(iter(settings))} as an angle"):
            EventMixture(events, observation, components, **settings)
    grid = ParameterGrid(bounds=(1, 3) * u.TeV, bins=3)
    with pytest.raises(ParameterError, match="expected a grid of numbers without unit, found one in TeV"):
        EventMixture(events, observation, components, grids={"index": grid})


def test_events_that_can_t_be_used(observation: Observation, components: dict[str, Any], events: Any) -> None:
    for name in ("ENERGY", "RA"):
        with pytest.raises(DataError, match=r"(event|row) 5"):
            EventMixture(with_event(events, **{name: np.nan}), observation, components)
    with pytest.raises(DataError, match="expected an Observation or several, found NoneType"):
        EventMixture(events, None, components)
    far = with_event(events, ENERGY=50.0)
    with pytest.raises(DataError, match=r"1 of 3000 events are outside the bounds .* event 5 at 50 TeV"):
        EventMixture(far, observation, components)
    dropped = EventMixture(far, observation, components, outside="drop")
    assert dropped.n_outside == 1
    assert dropped.n_events == 2999
    assert "1 events outside the bounds were left out" in str(dropped)
    plain = EventList(events.table[["ENERGY", "RA", "DEC", "TIME", "EVENT_ID"]])
    with pytest.raises(DataError, match="expected energy_bounds and width"):
        EventMixture(plain, observation, components)
    same = EventMixture(plain, observation, components, energy_bounds=BOUNDS, width=WIDTH)
    assert same.n_events == 3000


def test_components_that_can_t_be_used(observation: Observation, events: Any) -> None:
    background = IRFBackground()
    away = make_source("gauss", "away", 20.0, sigma=0.1 * u.deg)
    with pytest.raises(ModelError, match="Component 'away' has a rate of zero in the field of view"):
        EventMixture(events, observation, {"away": away, "CCR": background})
    with pytest.raises(ModelError, match="Component 'a': expected a SkyModel with a spatial model"):
        EventMixture(events, observation, {"a": "crab", "CCR": background})
    with pytest.raises(ModelError, match="Component 'a': expected models, found none"):
        EventMixture(events, observation, {"a": [], "CCR": background})
    source = make_source("gauss", "a", sigma=0.3 * u.deg)
    source.parameters["amplitude"].prior = UniformPrior(min=0, max=1)
    with pytest.raises(ModelError, match="'amplitude' scales the whole component"):
        EventMixture(events, observation, {"a": source, "CCR": background})
    source.parameters["amplitude"].prior = None
    source.parameters["sigma"].prior = UniformPrior(min=0.1, max=1)
    with pytest.raises(ModelError, match="'sigma' is no parameter of the spectrum: give it a grid"):
        EventMixture(events, observation, {"a": source, "CCR": background})
    with pytest.raises(ParameterError, match="a grid of 'mass'"):
        EventMixture(events, observation, {"a": source}, grids={"mass": ParameterGrid([1.0, 2.0])})
    bare = Observation.create(pointing=CENTER, livetime=1 * u.h, irfs={"bkg": observation.bkg})
    with pytest.raises(DataError, match="has no aeff"):
        EventMixture(events, bare, {"CCR": background})
    with pytest.raises(DataError, match="as many event lists as observations"):
        EventMixture([events], [observation] * 2, {"CCR": background})


def test_selected_events_know_their_bounds(
    observation: Observation, components: dict[str, Any], events: Any
) -> None:
    low, high = 0.5 * u.TeV, 5 * u.TeV
    mixture = EventMixture(events.select_energy([low, high]), observation, components)
    assert mixture.responses[0].field.energy_bounds == (0.5, 5.0)
    near = events.select_offset([0, 1] * u.deg)
    with pytest.raises(DataError, match="expected energy_bounds and width"):
        EventMixture(near, observation, components)
    inside = EventMixture(
        near, observation, components, energy_bounds=BOUNDS, width=1.4 * u.deg, outside="drop"
    )
    assert inside.n_outside > 0


def test_grids_have_units_and_limits(
    observation: Observation, components: dict[str, Any], events: Any
) -> None:
    source = components["source"]
    index = source.parameters["index"]
    before = index.min, index.max
    try:
        index.min, index.max = 1.6, 2.4
        grid = ParameterGrid(bounds=(1.5, 2.5), bins=11, scale="lin")
        few = events.select_row_subset(slice(0, 100))
        mixture = EventMixture(few, observation, components, grids={"index": grid})
        values = mixture.prior_transform(np.random.default_rng(0).random((500, 3)))[:, -1]
        assert set(values.round(9)) == set(np.linspace(1.6, 2.4, 9).round(9))
    finally:
        index.min, index.max = before
    source.spectral_model.reference.frozen = False
    source.spectral_model.reference.prior = UniformPrior(min=0.5, max=3)
    try:
        grids = {"reference": ParameterGrid(bounds=[0.5, 3] * u.TeV, bins=3), "index": grid}
        mixture = EventMixture(few, observation, components, grids=grids)
        assert mixture.space.units["reference"] == "TeV"
    finally:
        source.spectral_model.reference.frozen = True
        source.spectral_model.reference.prior = None


def test_settings_that_can_t_be_used(
    observation: Observation, components: dict[str, Any], events: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    dark = make_source("gauss", "dark", sigma=0.3 * u.deg)
    dark.parameters["amplitude"].value = 0
    dark.parameters["index"].prior = UniformPrior(min=1, max=3)
    background = {"CCR": IRFBackground()}
    wrong: list[tuple[Any, Any, dict[str, Any], Any, str]] = [
        (events.table, components, {}, DataError, "expected an EventList or several, found Table"),
        (events, list(background.values()), {}, ModelError, "expected components by name"),
        (events, {"dark": dark, **background}, {}, ModelError, "'dark' has a rate of zero"),
        (events, components, {"grids": {"index": [1, 2]}}, ParameterError, "expected a ParameterGrid"),
        (events, components, {"alpha": "flat"}, ParameterError, "positive concentrations"),
        (events, components, {"total": 100}, ParameterError, "expected for total a prior"),
        (events, components, {"containment": "all"}, DataError, "expected a containment between"),
        (events, components, {"dex": 1 * u.deg}, DataError, "expected a positive dex"),
        (events, components, {"bin_size": 1e-5 * u.deg}, DataError, "bin_size of 1e-05 deg makes"),
        (events, components, {"folder": tmp_path / "file"}, DataError, "expected a folder, found a file"),
    ]
    for list_, tree, settings, error, message in wrong:
        with pytest.raises(error, match=message):
            EventMixture(list_, observation, tree, **settings)
    for bounds, bins in ((("a", "b"), 3), ((1, 3), 2.5), ((1 * u.TeV, 2), 3), ((1, 2, 3), 3)):
        with pytest.raises(ParameterError, match="expected two bounds in one unit"):
            ParameterGrid(bounds=bounds, bins=bins)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="expected center and limits in one unit"):
        ParameterGrid.from_number_of_events(1 * u.TeV, 100, limits=(1 * u.m, 2 * u.m))


def test_truncation_event_by_event(observation: Observation) -> None:
    """What bounds cut away of each event, against sums over finer energies of the tables themselves."""
    source = make_source("gauss", "wide", sigma=4 * u.deg)
    field = FieldOfView.create(CENTER, WIDTH, BOUNDS, "galactic")
    near, whole = (
        SkyPixels(EventResponse(observation, field, bounds))
        for bounds in (ResponseBounds(dex=0.12, angle=0.08), ResponseBounds(containment=1 - 1e-6))
    )
    energy = np.array([0.22, 0.5, 1.0, 5.0, 19.0])
    lon, lat = np.array([0.0, 0.3, -0.8, 0.6, 1.1]), np.array([0.0, 0.5, 0.2, -0.7, 0.9])
    offset = near.response.field.offset(near.response.field.from_local(lon, lat))
    cut = near.response.truncation_at(energy, offset)
    true = np.geomspace(0.02, 300, 6000)
    for i, away in enumerate(offset):
        migra = energy[i] / true
        density = (
            observation.edisp.evaluate(energy_true=true * u.TeV, migra=migra, offset=away * u.deg).value
            / true
        )
        area = observation.aeff.evaluate(energy_true=true * u.TeV, offset=away * u.deg).value
        weight = density * area / true
        kept = weight * (np.abs(np.log10(migra)) < 0.12)
        # The bound falls between two bins of true energy, of 0.025 dex.
        assert cut["energy"][i] == pytest.approx(1 - kept.sum() / weight.sum(), abs=0.02)
        tables = observation.psf.radial_tables(true[::50] * u.TeV, np.full(120, away) * u.deg)
        outside = np.interp(true, true[::50], [table.outside(np.radians(0.08)) for table in tables])
        assert cut["angle"][i] == pytest.approx((kept * outside).sum() / kept.sum(), abs=0.01)
    assert np.ptp(cut["energy"]) > 0.05
    assert np.ptp(cut["angle"]) > 0.1
    # That is what their densities lack, where the source is as good as flat.
    lacking = [densities(each, source, energy, lon, lat) for each in (near, whole)]
    ratio = lacking[0][0] * lacking[0][1] / (lacking[1][0] * lacking[1][1])
    np.testing.assert_allclose(ratio, (1 - cut["energy"]) * (1 - cut["angle"]), atol=0.01)


def test_truncation_as_a_table(mixture: EventMixture) -> None:
    table = mixture.event_truncation()
    assert len(table) == 3000
    assert table.colnames == ["observation", "event", "energy", "offset", "cut_energy", "cut_angle"]
    assert 0 <= np.min(table["cut_angle"]) <= np.max(table["cut_angle"]) < 1.5e-4
    assert -1e-9 < np.min(table["cut_energy"]) <= np.max(table["cut_energy"]) < 0.02
