"""Plots: files with the names that are promised, of all that is asked for, and none overwritten."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from matplotlib.image import imread
from sky_toys import make_roi, source

from villard.exceptions import ConfigError, ModelError, OverwriteError
from villard.maps import WcsNDMap
from villard.roi.plot_maps import draw_map
from villard.roi.plots import plot_extension, plot_localization
from villard.roi.positions import position_results


@pytest.fixture(scope="module")
def roi():
    return make_roi([source("A", 0.5, 0.2), source("B", -1.0, -0.5, sigma=0.2)], seed=4)


def _is_drawn(path):
    """Whether an image has more than one colour."""
    pixels = imread(path)
    return pixels.shape[0] > 100 and np.ptp(pixels[..., :3]) > 0.5


def test_files(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = roi.make_plots("toy", graticule_radii=[1.0], tsmap=True)
    assert [path.name for path in paths] == [
        "toy_counts_map_4.000_5.301.png",
        "toy_model_map_4.000_5.301.png",
        "toy_residual_map_4.000_5.301.png",
        "toy_counts_spectrum.png",
        "toy_pointsource_powerlaw_2.00_tsmap_sqrt_ts.png",
    ]
    assert all(_is_drawn(path) for path in paths)
    with pytest.raises(OverwriteError):
        roi.make_plots("toy")
    some = roi.make_plots("toy", loge_bounds=[4.4, None], overwrite=True, label_source=["A"])
    assert some[0].name == "toy_counts_map_4.400_5.301.png"


def test_maps_of_methods(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    roi.tsmap("toy", make_plots=True)
    roi.residmap("toy", make_plots=True)
    roi.psmap("toy", make_plots=True)
    names = ("pointsource_powerlaw_2.00_tsmap_sqrt_ts", "pointsource_powerlaw_2.00_residmap_sigma", "psmap")
    assert all(_is_drawn(tmp_path / f"toy_{name}.png") for name in names)


def test_position_and_width(roi, tmp_path, monkeypatch):
    """Of results that are made up: the fits have their own tests."""
    monkeypatch.chdir(tmp_path)
    place = SkyCoord(0.5, 0.2, unit="deg", frame="galactic")
    radii = {"68": 0.02, "95": 0.03, "99": 0.04}
    found = position_results(place, np.diag([1e-4, 2e-4]), radii) | {"name": "A"}
    found |= {"tsmap": WcsNDMap(roi.geom.to_image()), "ra_preloc": 266.5, "dec_preloc": -28.4}
    assert _is_drawn(plot_localization(roi, found, "toy"))
    width = np.linspace(0, 1, 11)
    loglike = -0.5 * ((width - 0.3) / 0.1) ** 2
    profile = {"name": "A", "width": width, "loglike": loglike, "loglike_ptsrc": loglike[0], "ts_ext": 9.0}
    profile |= {"ext": 0.3, "ext_err_lo": np.nan, "ext_err_hi": 0.1, "ext_ul95": 0.46}
    assert plot_extension(roi, profile, "toy").name == "toy_a_extension.png"
    assert _is_drawn(tmp_path / "toy_a_extension.png")


def test_given_model_and_format(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = roi.datasets[0].npred()
    paths = roi.make_plots("other", mcube_map=model, format="pdf", label_ts_threshold=None)
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths)


def test_bad_input(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="cmap"):
        roi.make_plots("toy", cmpa="viridis")
    with pytest.raises(ConfigError, match=r"matplotlib has no 'viridi'\. Did you mean 'viridis'"):
        roi.make_plots("toy", cmap="viridi")
    with pytest.raises(ConfigError, match=r"format: expected one of .*'png'.* found 'xyz'"):
        roi.make_plots("toy", format="xyz")
    with pytest.raises(ModelError, match="'A'"):
        roi.make_plots("toy", label_source="AA")


def test_axes_end_with_the_map(roi):
    """Also where a source, or a circle, reaches beyond it; names don't cover markers."""
    config = {"cmap": "magma", "figsize": (8, 6), "graticule_radii": [30.0], "label_source": None}
    image = roi.datasets[0].counts.sum_over_axes(keepdims=False)
    config |= {"label_ts_threshold": 0.0}
    axes = draw_map(roi, image, "Counts", config).axes[0]
    rows, columns = image.geom.spatial_shape
    assert axes.get_xlim() == (-0.5, columns - 0.5)
    assert axes.get_ylim() == (-0.5, rows - 0.5)
