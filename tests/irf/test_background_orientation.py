"""Which way tables of background lie in the field of view: what files say, and what events say."""

import itertools

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from villard.data import DataStore
from villard.irf import Background3D
from villard.irf.fov import field_of_view


def test_ambiguous_order_of_dimensions():
    """Columns DETX, DETY, ENERG: lengths tell the order of the array, where they differ."""
    for n_lon, n_lat in ((3, 3), (3, 4)):
        lon, lat, energy = np.arange(n_lon + 1.0), np.arange(n_lat + 1.0), np.array([1.0, 2.0, 4.0])
        values = np.arange(2.0 * n_lon * n_lat).reshape(2, n_lon, n_lat) + 1
        in_file = values if n_lon == n_lat else values.transpose(0, 2, 1)
        axes = {"DETX": (lon, "deg"), "DETY": (lat, "deg"), "ENERG": (energy, "TeV")}
        columns = [
            fits.Column(f"{name}_{end}", f"{len(edges) - 1}D", unit=unit, array=edges[None, part])
            for name, (edges, unit) in axes.items()
            for end, part in (("LO", slice(None, -1)), ("HI", slice(1, None)))
        ]
        dim = f"({','.join(str(n) for n in in_file.shape[::-1])})"
        columns.append(
            fits.Column("BKG", f"{values.size}D", unit="s-1 MeV-1 sr-1", dim=dim, array=in_file[None])
        )
        hdu = fits.BinTableHDU.from_columns(columns, name="BKG")
        hdu.header["HDUCLAS4"] = "BKG_3D"
        table = Background3D.from_hdulist(fits.HDUList([fits.PrimaryHDU(), hdu]))
        np.testing.assert_array_equal(table.data, values)


def _log_likelihood(observation, sign_lon, sign_lat, swap):
    """How well a table that is turned around describes where events beside the target are."""
    table, pointing = observation.bkg, observation.pointing.fixed_icrs
    edges = [table.axes[name].edges.value for name in ("energy", "fov_lon", "fov_lat")]
    x, y = np.meshgrid(*(table.axes[name].center.value for name in ("fov_lon", "fov_lat")), indexing="ij")
    target = [angle.to_value("deg") for angle in field_of_view(observation.target_radec, pointing)]
    selected = (np.hypot(x, y) < 2) & (np.hypot(x - target[0], y - target[1]) > 0.4)
    events = observation.events.select_energy([0.7, 8] * u.TeV)
    lon, lat = field_of_view(events.radec, pointing)
    at = [np.searchsorted(e, v) - 1 for e, v in zip(edges, (events.energy.value, lon, lat), strict=True)]
    inside = np.all([(i >= 0) & (i < len(e) - 1) for i, e in zip(at, edges, strict=True)], axis=0)
    k, i, j = (index[inside] for index in at)
    rate = (table.data.transpose(0, 2, 1) if swap else table.data)[:, ::sign_lon, ::sign_lat]
    total = np.sum(rate * selected, axis=(1, 2))
    keep = selected[i, j]
    return np.sum(np.log(rate[k, i, j] / total[k])[keep])


def test_orientation_by_events(gammapy_data):
    """The tables of H.E.S.S. describe their events best as they are read, of all ways to turn them."""
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    observations = store.get_observations([23523, 23526, 23559, 23592])
    found = {
        turned: sum(_log_likelihood(observation, *turned) for observation in observations)
        for turned in itertools.product((1, -1), (1, -1), (False, True))
    }
    best, second = sorted(found.values())[:-3:-1]
    assert found[1, 1, False] == pytest.approx(best)
    assert best - second > 10
