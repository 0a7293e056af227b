"""A region of interest: its sources, their order and their names."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.datasets import MapDataset
from villard.exceptions import DataError, ModelError
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from villard.roi import ROI


def point(name, lon):
    place = PointSpatialModel(lon_0=f"{lon} deg", lat_0="0 deg", frame="galactic")
    return SkyModel(PowerLawSpectralModel(), place, name=name)


@pytest.fixture
def roi():
    axis = MapAxis.from_energy_bounds("10 GeV", "1 TeV", nbin=3)
    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, width=1, axes=[axis])
    catalog = {"A far": {"ASSOC1": "M 31"}, "B near": {"ASSOC1": "M 31", "ASSOC_TEV": "TeV J1"}}
    counts = WcsNDMap(geom, data=np.ones(geom.data_shape))
    exposure = WcsNDMap(geom.as_energy_true(), data=np.full(geom.data_shape, 1e11), unit="cm2 s")
    dataset = MapDataset(counts=counts, exposure=exposure, name="a")
    return ROI(dataset, [point("A far", 0.3), point("B near", 0.1)], catalog=catalog)


def test_sources_are_ordered_by_distance_and_found_by_any_of_their_names(roi):
    assert [source.name for source in roi] == roi.models.names == ["B near", "A far"]
    np.testing.assert_allclose([source["offset"] for source in roi.sources], [0.1, 0.3])
    assert roi["bNEAR"] is roi["tevj1"] is roi.sources[0]
    assert "B near" in roi
    assert "B" not in roi
    with pytest.raises(ModelError, match="Did you mean 'B near'"):
        roi["B nar"]
    with pytest.raises(ModelError, match="2 sources are associated with 'm31': B near, A far"):
        roi["m31"]


def test_source_gives_results_attributes_and_columns(roi):
    source = roi["A far"]
    assert np.isnan(source["ts"])
    assert source["name"] == "A far"
    assert source["ASSOC1"] == "M 31"
    assert not source.is_diffuse
    assert not source.extended
    assert source.free
    assert source.get("nothing", 3) == 3
    assert "nothing" not in source
    with pytest.raises(KeyError, match=r"no 'offst'\. Did you mean 'offset'"):
        source["offst"]


def test_centre_and_energies(roi):
    assert roi.skydir.separation(SkyCoord(0, 0, unit="deg", frame="galactic")).deg < 1e-9
    np.testing.assert_allclose(roi.energy_bounds.to_value("GeV"), [10, 1000])
    assert len(roi.energy_edges) == 4
    assert len(roi.parameters) == 10
    with pytest.raises(DataError, match="at least one dataset"):
        ROI([], [])
