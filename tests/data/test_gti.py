import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from villard.data import GTI
from villard.exceptions import DataError, FileFormatError, OverwriteError


def test_create_from_durations_and_times():
    gti = GTI.create([0, 100] * u.s, [50, 200] * u.s, reference_time="2010-01-01")
    assert gti.time_ref.iso == "2010-01-01 00:00:00.000"
    assert gti.time_ref.scale == "tt"
    assert gti.time_delta.to_value("s").tolist() == [50, 100]
    times = GTI.create(gti.time_start, gti.time_stop, reference_time=Time("2009-12-31", scale="tt"))
    assert_allclose(times.met_start.to_value("s"), [86400, 86500], atol=1e-6)
    assert np.abs((times.time_start - gti.time_start).to_value("s")).max() < 1e-6
    assert gti.table.colnames == ["START", "STOP"]
    assert len(gti) == 2


def test_union_joins_what_overlaps():
    gti = GTI([20, 0, 5, 30, 40], [30, 10, 12, 35, 50]).union()
    assert gti.met_start.value.tolist() == [0, 20, 40]
    assert gti.met_stop.value.tolist() == [12, 35, 50]
    assert len(GTI([], []).union()) == 0


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 20)), min_size=1, max_size=8))
def test_union_covers_the_same_seconds(intervals):
    start = np.array([a for a, _ in intervals], dtype=float)
    stop = start + [b for _, b in intervals]
    seconds = {s for a, b in zip(start, stop, strict=True) for s in range(int(a), int(b))}
    union = GTI(start, stop).union()
    assert union.time_sum.value == len(seconds)
    assert np.all(union.met_start[1:] > union.met_stop[:-1])


def test_stack_converts_reference_times():
    one = GTI.create([0] * u.s, [10] * u.s, "2000-01-01")
    two = GTI.create([0] * u.s, [10] * u.s, "2000-01-02")
    assert_allclose(one.stack(two).met_start.value, [0, 86400], atol=1e-6)


def test_fits_round_trip(tmp_path):
    gti = GTI.create([0.25, 100] * u.s, [50, 200] * u.s, Time("2010-01-01T12:00:00", scale="utc"))
    gti.write(tmp_path / "gti.fits")
    copy = GTI.read(tmp_path / "gti.fits")
    assert copy.met_start.value.tolist() == [0.25, 100]
    assert copy.time_ref.scale == "utc"
    assert abs((copy.time_ref - gti.time_ref).to_value("s")) < 1e-9
    with pytest.raises(OverwriteError):
        gti.write(tmp_path / "gti.fits")


def hdu(**header):
    columns = [fits.Column(name, "D", unit="s", array=[1.0, 5.0]) for name in ("START", "STOP")]
    table = fits.BinTableHDU.from_columns(columns, name="GTI")
    table.header.update(header)
    return table


def test_reference_time_in_one_keyword_or_none():
    assert GTI.from_table_hdu(hdu(MJDREF=55197.5)).time_ref.mjd == 55197.5
    unknown = GTI.from_table_hdu(hdu())
    assert unknown.time_sum == 0 * u.s
    assert "duration" in str(unknown)
    with pytest.raises(DataError, match="the reference time isn't known"):
        unknown.time_start  # noqa: B018


def test_text():
    gti = GTI.create([0] * u.s, [100] * u.s)
    assert repr(gti) == "GTI(1 intervals, 100 s)"
    assert "start     : 2000-01-01 00:00:00.000 (TT)" in str(gti)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"MJDREFI": "x"}, "reference time as MJD"),
        ({"TIMESYS": "LOCAL"}, "unknown time scale 'local'"),
        ({"TUNIT1": "m"}, "a unit like s"),
    ],
)
def test_bad_extensions_are_named(header, message):
    with pytest.raises(FileFormatError, match=f"x.fits.*{message}"):
        GTI.from_table_hdu(hdu(**header), where="x.fits")


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        ([1], [0], "interval 0 starts at 1.0 s and stops at 0.0 s"),
        ([np.nan], [1], "must be finite"),
        ([1, 2], [3], "as many starts as stops"),
    ],
)
def test_bad_intervals(start, stop, message):
    with pytest.raises(DataError, match=message):
        GTI(start, stop)
