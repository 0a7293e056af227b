"""Selection of sources."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from region_toys import point, toy_dataset, toy_roi

from villard.exceptions import ModelError, ParameterError
from villard.modeling.models import ConstantSpatialModel, PowerLawSpectralModel, SkyModel
from villard.roi import ROI


@pytest.fixture(scope="module")
def roi():
    models = [point("far", 0.8), point("near", 0.1, index=1.9), point("corner", 0.45, 0.45)]
    spectrum = PowerLawSpectralModel(amplitude="1e-13 cm-2 s-1 MeV-1")
    isotropic = SkyModel(spectrum, ConstantSpatialModel(), name="iso")
    catalog = {"near": {"CLASS": "PSR", "Signif_Avg": 7.0}}
    return ROI(toy_dataset(models=[*models, isotropic]), catalog=catalog)


def names(sources):
    return [source.name for source in sources]


def test_distance(roi):
    assert names(roi.get_sources()) == ["near", "corner", "far", "iso"]
    # Diffuse emission passes a distance only where that is asked for.
    assert names(roi.get_sources(distance=0.5)) == ["near"]
    assert names(roi.get_sources(distance=0.5, exclude_diffuse=False)) == ["near", "iso"]
    assert names(roi.get_sources(exclude_diffuse=True)) == ["near", "corner", "far"]
    assert names(roi.get_sources(distance=0.5, square=True, coordsys="GAL")) == ["near", "corner"]
    # In equatorial coordinates the square is turned, and the corner lies outside.
    assert names(roi.get_sources(distance=0.5, square=True)) == ["near"]
    assert names(roi.get_sources(distance=0.2, skydir="far")) == ["far"]
    there = SkyCoord(0.8, 0.0, unit="deg", frame="galactic")
    assert names(roi.get_sources(distance=0.2, skydir=there.icrs)) == ["far"]


def test_names_and_exclusions(roi):
    assert names(roi.get_sources(names=["FAR", "iso"])) == ["far", "iso"]
    assert names(roi.get_sources(exclude="near", exclude_diffuse=True)) == ["corner", "far"]
    with pytest.raises(ModelError, match=r"No source 'nera'\. Did you mean 'near'"):
        roi.get_sources(exclude=["nera"])


def test_ranges_and_values(roi):
    npred = roi["near"]["npred"]
    assert names(roi.get_sources(minmax_npred=[npred, None], exclude="iso")) == ["near"]
    assert names(roi.get_sources(cuts={"offset": [0.3, None]}, exclude_diffuse=True)) == ["corner", "far"]
    assert names(roi.get_sources(cuts={"Signif_Avg": [5, None]})) == ["near"]
    assert names(roi.get_sources(cuts={"CLASS": "psr"})) == ["near"]
    assert names(roi.get_sources(cuts=("offset", 0.05, 0.2))) == ["near"]
    assert names(roi.get_sources(cuts=[("offset", [0.05, 0.2]), ("Signif_Avg", [8, None])])) == []
    with pytest.raises(ModelError, match=r"No source has 'ofset'\. Did you mean 'offset'"):
        roi.get_sources(cuts={"ofset": [0, 1]})
    with pytest.raises(ParameterError, match="expected \\[min, max\\], found \\[1\\]"):
        roi.get_sources(cuts={"offset": [1]})


def test_ranges_of_ts_need_ts():
    roi = toy_roi()
    with pytest.raises(ParameterError, match=r"before TS are known: call fit\(\)"):
        roi.get_sources(minmax_ts=[10, None])
    roi["A far"].results["ts"] = 30.0
    assert names(roi.get_sources(minmax_ts=[10, None])) == ["A far"]
    assert names(roi.get_sources(minmax_ts=[None, 10])) == []
    assert np.isnan(roi["B near"]["ts"])


def test_mistakes(roi):
    with pytest.raises(ParameterError, match="an angle above 0"):
        roi.get_sources(distance=-1)
    with pytest.raises(ParameterError, match="need a distance"):
        roi.get_sources(skydir="near")
    with pytest.raises(ParameterError, match="'CEL' or 'GAL'"):
        roi.get_sources(distance=1, coordsys="FK4")
    with pytest.raises(ModelError, match="is diffuse, and has no direction"):
        roi.get_sources(distance=1, skydir="iso")
    with pytest.raises(ParameterError, match="an angle above 0, found 'wide'"):
        roi.get_sources(distance="wide")
    with pytest.raises(ParameterError, match=r"npred: expected numbers or None .* found \['a', 2\]"):
        roi.get_sources(minmax_npred=["a", 2])
    with pytest.raises(ParameterError, match="the larger one first"):
        roi.free_sources(minmax_npred=[10, 1])


def test_what_is_of_the_model(roi):
    assert "NEAR" in roi
    assert "nearer" not in roi
    near = roi["near"]
    assert (near["SpectrumType"], near["SpatialModel"], near["SourceType"]) == (
        "PowerLaw",
        "PointSource",
        "PointSource",
    )
    assert near["glon"] == pytest.approx(0.1)
    assert near["ra"] == pytest.approx(near.skydir.icrs.ra.deg)
    far = roi["far"]
    assert far["offset"] == pytest.approx(np.hypot(far["offset_ra"], far["offset_dec"]), rel=1e-3)
    assert (far["offset_glon"], far["offset_glat"]) == pytest.approx((0.8, 0.0), abs=1e-6)
    assert np.isnan([near["SpatialWidth"], near["pos_r95"], roi["iso"]["offset_ra"]]).all()
    assert near["Spatial_Filename"] is None
    assert names(roi.get_sources(cuts={"SpatialModel": "ConstantValue"})) == ["iso"]
    # Diffuse emission isn't anywhere near.
    assert names(roi.get_sources(cuts={"offset": [0, 0.2]})) == ["near"]
    assert names(roi.get_sources(cuts={"offset": [0, 0.2]}, exclude_diffuse=False)) == ["near", "iso"]
