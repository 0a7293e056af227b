"""Collections of models on the sky: positions, outlines, selection, plots."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.exceptions import ModelError
from villard.maps import Map, WcsGeom
from villard.modeling.models import (
    ConstantSpatialModel,
    ExpDecayTemporalModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    ShellSpatialModel,
    SkyModel,
    TemplateSpatialModel,
)


def models():
    template = Map.create(npix=4, binsz=0.5, frame="galactic", skydir=(0, 0))
    template.data += 1
    shapes = {
        "gauss": GaussianSpatialModel(lon_0="1 deg", sigma="0.2 deg", frame="galactic"),
        "point": PointSpatialModel(lon_0="355 deg", frame="galactic"),
        "shell": ShellSpatialModel(lon_0="270 deg", lat_0="60 deg"),
        "template": TemplateSpatialModel(template),
        "isotropic": ConstantSpatialModel(),
        "spectrum": None,
    }
    sources = [SkyModel(PowerLawSpectralModel(), shape, name=name) for name, shape in shapes.items()]
    return Models([*sources, FoVBackgroundModel("x")])


def test_positions_and_outlines():
    positions = models().positions
    assert positions.shape == (4,)
    assert positions[0].separation(SkyCoord(1, 0, unit="deg", frame="galactic")).deg < 1e-9
    assert [region.shape for region in models().to_regions()] == ["ellipse", "point", "annulus", "box"]
    assert models().to_regions(size_factor=3)[0].sizes == pytest.approx((0.6, 0.6))
    assert Models().positions.shape == (0,)


def test_selection():
    geom = WcsGeom.create(npix=40, binsz=0.1, skydir=(0, 0), frame="galactic")
    assert models().select_from_geom(geom).names == ["gauss", "template", "isotropic"]
    assert models().select_from_geom(geom, margin=3.1 * u.deg).names == [
        "gauss",
        "point",
        "template",
        "isotropic",
    ]
    mask = geom.region_mask("galactic;circle(-1.5, 0, 0.4)")
    assert models().select_mask(mask).names == ["template", "isotropic"]
    assert models().select_mask(mask, use_evaluation_region=False).names == ["isotropic"]
    assert models().select_mask(mask, margin="1.9 deg").names == ["gauss", "template", "isotropic"]
    mask.data[...] = False
    assert models().select_mask(mask).names == []
    assert models().select_region("galactic;circle(1, 0, 0.1)").names == ["gauss"]
    with pytest.raises(ModelError, match="expected a map of booleans"):
        models().select_mask(Map.from_geom(geom))
    with pytest.raises(ModelError, match="expected a region, found None"):
        models().select_region(None)


def test_plots():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    ax = Map.create(npix=40, binsz=0.3, frame="galactic").plot()
    assert models().plot_regions(ax, color="w") is ax
    assert len(ax.lines) == 4
    assert models().plot_positions(ax) is ax
    assert len(ax.collections) == 1
    box = np.array(ax.lines[3].get_data())
    np.testing.assert_allclose(np.nanmax(np.abs((box[0] + 180) % 360 - 180)), 1, rtol=1e-3)
    plt.close("all")


def test_create():
    model = SkyModel.create("pl", "gauss", "exp-decay", name="a", datasets_names="x")
    assert isinstance(model.spectral_model, PowerLawSpectralModel)
    assert isinstance(model.spatial_model, GaussianSpatialModel)
    assert isinstance(model.temporal_model, ExpDecayTemporalModel)
    assert (model.name, model.datasets_names) == ("a", ["x"])
    spectrum = PowerLawSpectralModel(index=3)
    assert SkyModel.create(spectrum).spectral_model is spectrum
    with pytest.raises(ModelError, match="No spatial model has the tag 'gaus'"):
        SkyModel.create("pl", "gaus")
