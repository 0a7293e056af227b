"""The search for sources: names of the published tool, and sources that are known to be there."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from sky_toys import make_roi, source

from villard.exceptions import ConfigError
from villard.roi.find_sources import source_name

# fermipy.utils.create_source_name
NAMES = {
    (256.359, 54.584): "PS J1705.4+5435",
    (83.6331, 22.0145): "PS J0534.5+2200",
    (266.4168, -29.0078): "PS J1745.6-2900",
    (359.99, -0.5): "PS J2359.9-0030",
}


@pytest.mark.parametrize("position", NAMES)
def test_names(position):
    assert source_name(SkyCoord(*position, unit="deg")) == NAMES[position]


def test_names_at_edges():
    assert source_name(SkyCoord(0, 0, unit="deg")) == "PS J0000.0+0000"
    assert source_name(SkyCoord(359.9999, 89.9999, unit="deg")) == "PS J2359.9+8959"
    assert source_name(SkyCoord(83.6331, 22.0145, unit="deg"), prefix="") == "J0534.5+2200"


PLACES = {"B": (-1.03, -0.52), "C": (1.2, 0.6)}


@pytest.fixture(scope="module")
def found():
    true = [source("A", 0.1, 0.0), source("B", *PLACES["B"]), source("C", *PLACES["C"], 1.2e-14)]
    roi = make_roi([source("A", 0.1, 0.0)], data=true, seed=5)
    before = roi.loglike
    result = roi.find_sources(model={"Index": 2.0, "SpatialModel": "PointSource"}, max_iter=3)
    return roi, before, result


def test_missing_sources_are_found(found):
    roi, before, result = found
    assert len(result["sources"]) == 2
    assert [peak["sqrt_ts"] > 5 for peak in result["peaks"]] == [True, True]
    for new, (lon, lat) in zip(result["sources"], PLACES.values(), strict=True):
        place = SkyCoord(lon, lat, unit="deg", frame="galactic")
        assert new.skydir.separation(place).deg < new["pos_r99"]
        assert new.name == source_name(new.skydir)
        assert new in roi.sources
        norm = new.spectral_model.amplitude
        assert not norm.frozen
        assert norm.error > 0
    assert all(peak["localized"] for peak in result["peaks"])
    # The brighter one first, with the flux that it has.
    amplitude = result["sources"][0].spectral_model.amplitude.value * (1 / 20) ** 2
    assert amplitude == pytest.approx(2e-14, rel=0.25)
    assert result["loglike0"] == before
    assert result["loglike1"] == pytest.approx(roi.loglike)
    assert result["loglike1"] > before + 100


def test_nothing_more_is_found(found):
    roi, _, _ = found
    assert np.nanmax(roi.tsmap()["sqrt_ts"].data) < 5
    names = roi.models.names
    assert roi.find_sources()["sources"] == []
    assert roi.models.names == names


def test_bad_input(found):
    roi = found[0]
    with pytest.raises(ConfigError, match="sqrt_ts_threshold"):
        roi.find_sources(sqrt_ts_treshold=4)
    with pytest.raises(ConfigError, match=r"max_iter: .* greater than or equal to 1, found 0"):
        roi.find_sources(max_iter=0)
    with pytest.raises(ConfigError, match="search_minmax_radius"):
        roi.find_sources(search_minmax_radius=[1])
