"""Event lists, pointings, observations and data stores."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.table import Table
from astropy.time import Time

from villard.data import GTI, DataStore, EventList, FixedPointingInfo, Observation, Observations
from villard.exceptions import DataError, FileFormatError, OverwriteError, UnitsError
from villard.irf import EffectiveAreaTable2D
from villard.maps import MapAxis, WcsGeom, WcsNDMap

CRAB = SkyCoord(83.63, 22.01, unit="deg")
META = {"MJDREFI": 51910, "MJDREFF": 0.5, "TIMESYS": "TT", "RA_PNT": 83.63, "DEC_PNT": 22.51, "DEADC": 0.9}


def make_events(n=200, seed=1):
    rng = np.random.default_rng(seed)
    table = Table(
        {
            "ENERGY": np.geomspace(0.5, 20, n) * u.TeV,
            "RA": (83.63 + 0.3 * rng.normal(size=n)) * u.deg,
            "DEC": (22.01 + 0.3 * rng.normal(size=n)) * u.deg,
            "TIME": np.sort(rng.uniform(0, 1000, n)) * u.s,
        },
        meta=dict(META),
    )
    return EventList(table)


def test_selections():
    events = make_events()
    low = events.select_energy([1, 2] * u.TeV)
    assert np.all((low.energy >= 1 * u.TeV) & (low.energy < 2 * u.TeV))
    near = events.select_cone(CRAB, 0.2 * u.deg)
    assert len(near) == np.sum(events.radec.separation(CRAB).deg < 0.2)
    assert len(events.select_region("icrs;circle(83.63, 22.01, 0.2)")) == len(near)
    assert np.all(events.select_offset([0, 0.5] * u.deg).offset < 0.5 * u.deg)
    start = events.time_ref + 100 * u.s
    assert np.all(events.select_time(Time([start, start + 50 * u.s])).time >= start)
    inside = events.select_gti(GTI.create([0, 500] * u.s, [100, 600] * u.s, events.time_ref))
    assert len(inside) == len(events.select_time(Time([events.time_ref, start]))) + len(
        events.select_time(Time([events.time_ref + 500 * u.s, events.time_ref + 600 * u.s]))
    )
    geom = WcsGeom.create(skydir=CRAB, binsz=0.1, width=0.5)
    mask = WcsNDMap(geom, data=np.ones(geom.data_shape, dtype=bool))
    assert 0 < len(events.select_map_mask(mask)) < len(events)
    assert len(events.select_parameter("ENERGY", [1, 2] * u.TeV)) == len(low)
    np.testing.assert_allclose(events.galactic.icrs.ra.deg, events.radec.ra.deg)


def test_wrong_selections():
    events = make_events()
    with pytest.raises(UnitsError, match="expected energy_range in a unit like TeV"):
        events.select_energy([1, 10])
    with pytest.raises(DataError, match="lower and an upper bound"):
        events.select_energy([10, 1] * u.TeV)
    with pytest.raises(DataError, match="lower and an upper bound"):
        events.select_energy(1 * u.TeV)
    with pytest.raises(UnitsError, match="expected offset_band in a unit like deg"):
        events.select_offset([0, 1] * u.TeV)
    # Plain numbers are in the unit of the column.
    assert len(events.select_parameter("ENERGY", (1, 2))) == len(events.select_energy([1, 2] * u.TeV))


def test_times_and_dead_time():
    events = make_events()
    assert events.observation_dead_time_fraction == pytest.approx(0.1)
    with pytest.raises(DataError, match="no keyword ONTIME"):
        _ = events.observation_time_duration
    location = EarthLocation.from_geodetic(16.5, -23.3, 1800)
    observation = make_observation(location=location, reference_time="2020-01-01T20:00:00")
    assert observation.observation_dead_time_fraction == 0
    # Culminations of that declination are at 45 deg there.
    assert 30 < observation.get_pointing_altaz().alt.deg < 46
    gti = observation.gti
    bounds = gti.time_start[0] + [0, 100] * u.s
    assert gti.select_time(bounds).time_sum.to_value("s") == pytest.approx(100)


def test_stack_moves_times_to_one_reference():
    first, second = make_events(5), make_events(5)
    later = second.table.copy()
    later.meta["MJDREFI"] += 1
    both = EventList.from_stack([first, EventList(later)])
    np.testing.assert_allclose((both.time[5:] - both.time[:5]).to_value("day"), 1)


def test_file(tmp_path):
    events = make_events()
    events.write(tmp_path / "events.fits", gti=GTI([0], [1000]))
    again = EventList.read(tmp_path / "events.fits")
    np.testing.assert_array_equal(again.energy, events.energy)
    np.testing.assert_allclose((again.time - events.time).to_value("s"), 0, atol=1e-6)
    with pytest.raises(OverwriteError):
        events.write(tmp_path / "events.fits")
    with pytest.raises(FileFormatError, match="expected events"):
        EventList.read(tmp_path / "events.fits", hdu="GTI")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("ENERGY", np.nan, "column ENERGY: 1 of 200 values can't be used, the first one is nan"),
        ("ENERGY", -1, "column ENERGY: 1 of 200"),
        ("RA", np.inf, "column RA: 1 of 200"),
        ("DEC", 95, "column DEC: 1 of 200"),
        ("TIME", np.nan, "column TIME: 1 of 200"),
    ],
)
def test_bad_values(column, value, message):
    table = make_events().table.copy()
    table[column][3] = value
    with pytest.raises(DataError, match=message):
        EventList(table)


def test_bad_tables():
    table = make_events().table
    with pytest.raises(DataError, match="DEC isn't among"):
        EventList(table["ENERGY", "RA"])
    wrong = table.copy()
    wrong["ENERGY"] = np.ones(200) * u.m
    with pytest.raises(UnitsError, match="column ENERGY: expected a unit like TeV, found m"):
        EventList(wrong)


def make_observation(**kwargs):
    true = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=6, name="energy_true")
    offset = MapAxis.from_nodes([0, 3] * u.deg, name="offset")
    aeff = EffectiveAreaTable2D([true, offset], np.full((6, 2), 1e5) * u.m**2)
    pointing = SkyCoord(83.63, 22.51, unit="deg")
    return Observation.create(pointing, livetime=900 * u.s, irfs={"aeff": aeff}, **kwargs)


def test_observation(tmp_path):
    observation = make_observation(deadtime_fraction=0.1, events=make_events(), obs_id=7)
    assert observation.ontime.to_value("s") == pytest.approx(1000)
    assert observation.livetime.to_value("s") == pytest.approx(900)
    assert observation.available_irfs == ["aeff"]
    observation.write(tmp_path / "run.fits")
    again = Observation.read(tmp_path / "run.fits")
    assert again.obs_id == 7
    assert again.livetime.to_value("s") == pytest.approx(900)
    assert again.pointing_radec.separation(observation.pointing_radec).deg < 1e-9
    half = again.select_time(Time([again.tstart, again.tstart + 500 * u.s]))
    assert half.livetime.to_value("s") == pytest.approx(450)
    store = DataStore.from_events_files([tmp_path / "run.fits"])
    assert len(store.obs(7).events) == 200
    assert "events    : 200" in str(again)


def test_bad_observations():
    pointing = SkyCoord(0, 0, unit="deg")
    with pytest.raises(DataError, match="either livetime or tstop"):
        Observation.create(pointing)
    with pytest.raises(DataError, match=r"unknown responses \['area'\]"):
        Observation.create(pointing, livetime=1 * u.s, irfs={"area": 1})
    aeff = EffectiveAreaTable2D.__new__(EffectiveAreaTable2D)
    with pytest.raises(DataError, match="expected a table of 'psf', found EffectiveAreaTable2D"):
        Observation.create(pointing, livetime=1 * u.s, irfs={"psf": aeff})
    with pytest.raises(DataError, match="expected a table of 'bkg', found EffectiveAreaTable2D"):
        make_observation().copy(bkg=aeff)
    with pytest.raises(DataError, match="positive livetime"):
        Observation.create(pointing, livetime=-1 * u.s)
    with pytest.raises(DataError, match="expected a direction"):
        Observation.create("Crab", livetime=1 * u.s)
    with pytest.raises(UnitsError, match="expected livetime as a time"):
        Observation.create(pointing, livetime=1)
    with pytest.raises(DataError, match=r"identifiers must differ, found \['0'\] twice"):
        Observations([make_observation(), make_observation()])
    several = Observations([make_observation()])
    several.append(make_observation(obs_id=2))
    assert several.ids == ["0", "2"]
    with pytest.raises(DataError, match="identifiers must differ"):
        several.append(make_observation())


def test_pointing_in_drift():
    location = EarthLocation.from_geodetic(16.5, -23.3, 1800)
    header = {"OBS_MODE": "DRIFT", "ALT_PNT": 60.0, "AZ_PNT": 180.0}
    header |= {"GEOLON": 16.5, "GEOLAT": -23.3, "ALTITUDE": 1800}
    pointing = FixedPointingInfo.from_fits_header(header)
    times = Time("2020-01-01", scale="utc") + [0, 1] * u.h
    sky = pointing.get_icrs(times)
    # The Earth turns by 15 deg per sidereal hour.
    assert (sky[1].ra - sky[0].ra).wrap_at("180d").deg == pytest.approx(15.04, abs=0.05)
    assert pointing.get_altaz(times, location).alt.deg == pytest.approx(60)
    with pytest.raises(DataError, match="no fixed direction"):
        _ = pointing.fixed_icrs


def test_plots():
    import matplotlib.pyplot as plt

    # One event far out doesn't hide the others.
    ra = np.append(np.linspace(83, 84, 300), 120)
    far = Table({"ENERGY": np.ones(301) * u.TeV, "RA": ra * u.deg, "DEC": np.full(301, 22) * u.deg})
    ax = EventList(far).plot_offset2_distribution(center=SkyCoord(83.5, 22, unit="deg"))
    assert ax.get_xlim()[1] < 1
    plt.close("all")
    assert len(make_events().peek().axes) == 4
    assert len(make_observation(events=make_events()).peek().axes) == 3
    plt.close("all")


@pytest.mark.parametrize(
    ("folder", "n_all", "n_here", "irfs"),
    [
        ("hess-dl3-dr1", 105, 12, "full-enclosure"),
        ("cta-1dc/index/gps", 4, 4, "full-enclosure"),
        ("magic/rad_max/data", 2, 2, "point-like"),
    ],
)
def test_public_data_stores(gammapy_data, folder, n_all, n_here, irfs):
    store = DataStore.from_dir(gammapy_data / folder)
    assert len(store.obs_ids) == n_all
    observations = store.get_observations(skip_missing=True, required_irf=irfs)
    assert len(observations) == n_here
    first = observations[0]
    assert len(first.events) > 1000
    assert first.is_pointlike == (irfs == "point-like")
    for name in first.available_irfs:
        assert getattr(first, name) is not None


def test_all_public_runs_of_hess_can_be_read(gammapy_data, caplog):
    """Some have negative values where tables were extrapolated to their zenith angles."""
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    here = store.get_observations(skip_missing=True)
    negative = [item.obs_id for item in here if item.obs_id in (20282, 20283, 20301, 20302)]
    assert len(negative) == 4
    for observation in here:
        caplog.clear()
        tables = [getattr(observation, name) for name in ("aeff", "edisp", "bkg")]
        assert all(np.all(table.data >= 0) and np.any(table.data > 0) for table in tables)
        assert ("negative values" in caplog.text) == (observation.obs_id in negative)


def test_data_store_tells_what_is_missing(gammapy_data):
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    with pytest.raises(DataError, match="file not found"):
        store.get_observations()
    with pytest.raises(DataError, match="no observation 1,"):
        store.obs(1)
    magic = DataStore.from_dir(gammapy_data / "magic/rad_max/data")
    with pytest.raises(DataError, match="there is no psf, bkg"):
        magic.obs(5029747, required_irf="full-enclosure")
    assert len(store.select(CRAB, 2 * u.deg)) == 4


def test_selections_of_observations(gammapy_data):
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    table = store.obs_table
    circle = {
        "type": "sky_circle",
        "frame": "icrs",
        "lon": "83.63 deg",
        "lat": "22.01 deg",
        "radius": "2 deg",
    }
    near = table.select_observations(circle)
    assert near["OBS_ID"].tolist() == [23523, 23526, 23559, 23592]
    assert len(table.select_observations(circle | {"inverted": True})) == 101
    assert near["ZEN_PNT"].unit == u.deg
    low = near.select_range("ZEN_PNT", [0, 46] * u.deg)
    assert 0 < len(low) < 4
    box = {"type": "par_box", "variable": "ZEN_PNT", "value_range": [0, 46]}
    assert table.select_observations([circle, box])["OBS_ID"].tolist() == low["OBS_ID"].tolist()
    start = store.obs(23526).tstart
    night = {"type": "time_box", "time_range": Time([start - 1 * u.s, start + 2 * u.h])}
    assert 23526 in table.select_observations(night)["OBS_ID"]
    assert 23523 not in table.select_observations(night)["OBS_ID"]
    text = store.info(show=False)
    assert "observations : 105" in text
    for criterion, message in (
        ({"type": "circle"}, "unknown type 'circle'"),
        ({"type": "sky_circle", "lon": "1 deg"}, "has no 'lat'"),
        (box | {"variable": "ZENITH"}, "no column ZENITH"),
        (box | {"value_range": [0, 1] * u.s}, "expected two bounds in a unit like deg"),
    ):
        with pytest.raises(DataError, match=message):
            table.select_observations(criterion)
