"""Maps of pixels on the sky: coordinates, resampling, filters, regions, plots."""

import json
from pathlib import Path

import astropy.units as u
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from villard.exceptions import DataError, UnitsError
from villard.maps import Map, MapAxis, RegionNDMap, WcsGeom, WcsNDMap

mpl.use("Agg")

RAMP = json.loads((Path(__file__).parents[1] / "reference" / "maps_gammapy.json").read_text())["ramp"]
ENERGY = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
GEOM = WcsGeom.create(skydir=(0, 5), binsz=0.5, width=(4, 3), frame="galactic", proj="TAN")
CUBE = GEOM.to_cube([ENERGY])


def sky(lon, lat, frame="galactic"):
    return SkyCoord(lon, lat, unit="deg", frame=frame)


def ramp(geom=GEOM, **kwargs):
    data = np.arange(float(np.prod(geom.data_shape))).reshape(geom.data_shape)
    return WcsNDMap(geom, data=data, **kwargs)


class TestCreate:
    def test_kinds(self):
        counts = Map.create(skydir=(83.63, 22.01), binsz=0.1, width=2, axes=[ENERGY], unit="s")
        assert isinstance(counts, WcsNDMap)
        assert counts.data.shape == (2, 20, 20)
        assert isinstance(Map.create(map_type="wcs", npix=3), WcsNDMap)
        assert isinstance(Map.create(map_type="region", axes=[ENERGY]), RegionNDMap)
        assert isinstance(Map.from_geom(GEOM, dtype=bool), WcsNDMap)
        assert "WcsNDMap(energy: 2, unit='s'" in repr(counts)

    def test_mistakes(self):
        with pytest.raises(DataError, match="width"):
            Map.create("icrs;circle(0, 0, 1)", width=3)
        with pytest.raises(DataError, match="region"):
            Map.create("icrs;circle(0, 0, 1)", map_type="wcs")
        with pytest.raises(DataError, match="shape"):
            WcsNDMap(GEOM, data=np.zeros((8, 6)))

    def test_arithmetic(self):
        total = ramp(CUBE) + ramp(CUBE)
        assert_array_equal(total.data, 2 * ramp(CUBE).data)
        assert ((ramp(CUBE) > 3) & ~(ramp(CUBE) > 10)).data.sum() == 7
        assert (ramp(CUBE, unit="s") * ramp(CUBE, unit="m2")).unit == "m2 s"
        with pytest.raises(DataError, match="geometr"):
            ramp(CUBE) + ramp(CUBE.crop(1))


class TestCoordinates:
    def test_get(self):
        cube = ramp(CUBE)
        assert_array_equal(cube.get_by_coord(CUBE.get_coord()), cube.data)
        assert_array_equal(cube.get_by_coord(CUBE.get_coord(sparse=True)), cube.data)
        by_tuple = cube.get_by_coord((0.3 * u.deg, 5.3 * u.deg, 50 * u.TeV))
        assert by_tuple == cube.get_by_coord({"skycoord": sky(0.3, 5.3), "energy": 50 * u.TeV})
        assert np.isnan(cube.get_by_coord({"skycoord": sky(3, 5), "energy": 50 * u.TeV}))
        assert np.isnan(cube.get_by_coord({"skycoord": sky(0, 5), "energy": 500 * u.TeV}))
        with pytest.raises(DataError, match="skycoord"):
            cube.get_by_coord({"energy": 1 * u.TeV})

    def test_fill_and_set(self):
        counts = WcsNDMap(CUBE)
        lon, energy = [0.3, 0.3, 0.3, 50] * u.deg, [2, 2, 50, 2] * u.TeV
        counts.fill_by_coord({"lon": lon, "lat": [5.3] * 4 * u.deg, "energy": energy}, weights=[1, 2, 4, 8])
        assert counts.data.sum() == 7
        assert counts.get_by_coord({"skycoord": sky(0.3, 5.3), "energy": 2 * u.TeV}) == 3
        counts.set_by_coord({"skycoord": sky([0.3], [5.3]), "energy": 2 * u.TeV}, 9)
        assert counts.data.max() == 9
        with pytest.raises(DataError, match="1 of 2 coordinates"):
            counts.set_by_coord({"skycoord": sky([0.3, 9], [5.3, 5]), "energy": 2 * u.TeV}, 9)

    @given(st.lists(st.tuples(st.floats(-2.2, 2.2), st.floats(3.4, 6.6)), min_size=1, max_size=30))
    def test_fill_conserves(self, points):
        counts, directions = WcsNDMap(GEOM), sky(*np.transpose(points))
        counts.fill_by_coord({"skycoord": directions})
        assert counts.data.sum() == GEOM.contains(directions).sum()

    def test_interpolation_is_exact_for_planes(self):
        # a + bx + cy + d log E is reproduced anywhere, also in the outer half of the outermost pixels.
        z, y, x = np.meshgrid(np.log([10**0.5, 10**1.5]), np.arange(6), np.arange(8), indexing="ij")
        cube = WcsNDMap(CUBE, data=2 + 3 * x - y + 5 * z)
        px, py = np.array([-0.4, 0, 3.3, 7.4]), np.array([5.4, 0, 2.7, -0.3])
        energy = [0.5, 3, 7, 200] * u.TeV
        coords = {"skycoord": GEOM.pix_to_skydir(px, py), "energy": energy}
        expected = 2 + 3 * px - py + 5 * np.log(energy.value)
        assert_allclose(cube.interp_by_coord(coords), expected, rtol=1e-6)
        filled = cube.interp_by_coord(coords, fill_value=-1)
        assert_allclose(filled, [-1, -1, expected[2], -1], rtol=1e-6)

    def test_interpolation_on_scales(self):
        z, y, x = np.meshgrid([0, 1], np.arange(6), np.arange(8), indexing="ij")
        cube = WcsNDMap(CUBE, data=np.exp(0.1 * x + 0.2 * y - 3 * z))
        px, py = np.array([1.5, 6.2]), np.array([2.1, 3.9])
        coords = {"skycoord": GEOM.pix_to_skydir(px, py), "energy": 10 * u.TeV}
        expected = np.exp(0.1 * px + 0.2 * py - 1.5)
        assert_allclose(cube.interp_by_coord(coords, values_scale="log"), expected, rtol=1e-6)
        with pytest.raises(DataError, match="scale"):
            cube.interp_by_coord(coords, values_scale="cube")

    def test_interpolation_outside(self):
        assert np.isnan(ramp().interp_by_coord({"skycoord": sky(20, 5)}))
        assert ramp().interp_by_coord({"skycoord": sky(20, 5)}, fill_value=0) == 0

    def test_interpolation_across_the_seam(self):
        whole = Map.create(binsz=10, frame="galactic")
        whole.data[9, 0], whole.data[9, -1] = 1, 3
        assert_allclose(whole.interp_by_coord({"lon": 180 * u.deg, "lat": 5 * u.deg}), 2)
        assert_allclose(whole.interp_by_coord({"lon": [-180, 540] * u.deg, "lat": 5 * u.deg}), [2, 2])

    def test_single_pixel(self):
        dot = Map.create(npix=1, binsz=180)
        dot.data += 3
        assert_allclose(dot.interp_by_coord({"lon": [0, 70] * u.deg, "lat": [0, -70] * u.deg}), 3)

    def test_images(self):
        cube = ramp(CUBE)
        assert_array_equal(cube.get_image_by_coord({"energy": 50 * u.TeV}).data, cube.data[1])
        assert_array_equal(cube.get_image_by_idx((0,)).data, cube.data[0])
        assert_array_equal([image.data for image in cube.iter_by_image()], cube.data)
        assert next(cube.iter_by_image(keepdims=True)).data.shape == (1, 6, 8)
        assert_array_equal(cube.to_image().data, cube.data.sum(axis=0))
        assert cube.sum_over_axes().data.shape == (1, 6, 8)
        assert ramp().to_cube([ENERGY.squash()]).data.shape == (1, 6, 8)
        with pytest.raises(DataError, match="outside"):
            cube.get_image_by_coord({"energy": 5 * u.GeV})


class TestPixels:
    def test_reference(self):
        assert_allclose(ramp().cutout(sky(1.9, 5), 1.5 * u.deg).data, RAMP["cutout"])
        assert_allclose(ramp().downsample(2).data, RAMP["downsample"])
        assert_allclose(ramp().upsample(2, order=1, preserve_counts=False).data, RAMP["upsample1"])

    def test_cutout_partial(self):
        part = ramp(CUBE).cutout(sky(1.9, 5), 1.5 * u.deg, mode="partial")
        assert part.data.shape == part.geom.data_shape == (2, 3, 3)
        assert not part.data[..., 0].any()
        assert_array_equal(part.data[..., 1:], ramp(CUBE).cutout(sky(1.9, 5), 1.5 * u.deg).data)

    def test_scaled(self):
        cube = ramp(CUBE)
        for other in (cube.downsample(2), cube.upsample(3), cube.upsample(2, axis_name="energy")):
            assert_allclose(other.data.sum(), cube.data.sum())
            assert other.data.shape == other.geom.data_shape
        assert_allclose(cube.downsample(2, preserve_counts=False).data.mean(), cube.data.mean())
        assert_array_equal(cube.upsample(2).downsample(2).data, cube.data)
        assert_array_equal(cube.downsample(2, axis_name="energy").data[0], cube.data.sum(axis=0))
        mask = cube > 20
        assert mask.downsample(2).is_mask
        assert_array_equal(mask.downsample(2).data[0], np.repeat([[False], [True], [True]], 4, axis=1))
        assert mask.upsample(2).data.sum() == 4 * mask.data.sum()
        assert_allclose(cube.downsample(2, weights=mask).data.sum(), np.sum(cube.data * mask.data))
        with pytest.raises(DataError, match="factor"):
            cube.downsample(0)

    def test_pad_and_crop(self):
        cube = ramp(CUBE)
        padded = cube.pad((2, 1), cval=-1)
        assert padded.data.shape == padded.geom.data_shape == (2, 8, 12)
        assert padded.data[0, 0, 0] == -1
        assert padded.crop((2, 1)).is_allclose(cube)
        assert_array_equal(cube.pad(1, mode="edge").data[0, 0, :3], [0, 0, 1])
        along = cube.pad((1, 0), axis_name="energy", mode="edge")
        assert_array_equal(along.data, cube.data[[0, 0, 1]])
        with pytest.raises(DataError, match="mode"):
            cube.pad(1, mode="mirror")

    def test_stack(self):
        cube = ramp(CUBE, unit="m2")
        total = WcsNDMap(CUBE, unit="cm2")
        total.stack(cube.cutout(sky(1, 5), 1.5 * u.deg))
        assert_allclose(total.data[:, 2:5, 1:4], 1e4 * cube.data[:, 2:5, 1:4])
        assert np.count_nonzero(total.data) == 18
        # A map that lies half outside, and one that lies wholly outside.
        beyond = WcsNDMap(CUBE._moved((3, 2), GEOM.npix), unit="cm2")
        beyond.data += 1
        mask = WcsNDMap(beyond.geom, data=True)
        mask.data[1] = False
        total = WcsNDMap(CUBE, unit="cm2")
        total.stack(beyond, weights=mask)
        assert_array_equal(total.data.sum(axis=(1, 2)), [4 * 5, 0])
        total.stack(WcsNDMap(CUBE._moved((30, 2), GEOM.npix), unit="cm2"))
        assert total.data.sum() == 20
        with pytest.raises(DataError, match="pixels"):
            total.stack(cube.upsample(2))

    def test_interp_to_geom(self):
        z, y, x = np.meshgrid([1, 2], np.arange(6), np.arange(8), indexing="ij")
        cube = WcsNDMap(CUBE, data=1.0 + z * (x + 2 * y))
        fine = cube.interp_to_geom(CUBE.upsample(2))
        assert_allclose(fine.downsample(2, preserve_counts=False).data, cube.data, rtol=1e-6)
        wider = cube.interp_to_geom(CUBE.pad(2), fill_value=-3)
        assert wider.data[0, 0, 0] == -3
        assert wider.crop(2).is_allclose(cube, rtol=1e-6)
        counts = cube.interp_to_geom(CUBE.upsample(2), preserve_counts=True)
        assert_allclose(counts.data.sum(), cube.data.sum(), rtol=1e-4)
        assert (cube > 3).interp_to_geom(CUBE.pad(1)).is_mask
        with pytest.raises(DataError, match="axes"):
            cube.interp_to_geom(GEOM)

    @pytest.mark.parametrize("frame", ["icrs", "galactic"])
    def test_reproject_conserves(self, frame):
        cube = ramp(CUBE.pad(0))
        target = WcsGeom.create(skydir=CUBE.center_skydir, binsz=0.37, width=8, frame=frame)
        counts = cube.reproject_to_geom(target, preserve_counts=True)
        assert counts.geom.axes == CUBE.axes
        assert_allclose(counts.data.sum(axis=(1, 2)), cube.data.sum(axis=(1, 2)), rtol=0.02)
        counts = cube.reproject_to_geom(target, preserve_counts=True, precision_factor=40)
        assert_allclose(counts.data.sum(axis=(1, 2)), cube.data.sum(axis=(1, 2)), rtol=4e-3)
        flat = WcsNDMap(CUBE, data=7.0).reproject_to_geom(target)
        assert_allclose(flat.data[flat.data > 0], 7)
        mask = WcsNDMap(CUBE, data=True).reproject_to_geom(target)
        assert mask.is_mask
        with pytest.raises(DataError, match="axes"):
            cube.reproject_to_geom(target.to_cube([ENERGY.squash()]))

    def test_sample(self):
        cube = ramp(CUBE)
        cube.data[0] = 0
        coords = cube.sample_coord(20000, random_state=1)
        counts = WcsNDMap(CUBE)
        counts.fill_by_coord(coords)
        assert counts.data.sum() == 20000
        assert not counts.data[0].any()
        expected = cube.data[1] / cube.data[1].sum() * 20000
        chi2 = np.sum((counts.data[1] - expected) ** 2 / expected)
        assert 20 < chi2 < 85  # 47 degrees of freedom
        with pytest.raises(DataError, match="Sample"):
            WcsNDMap(CUBE).sample_coord(3)


class TestFilters:
    def test_reference(self):
        assert_allclose(ramp().smooth("0.7 deg").data, RAMP["gauss"])
        assert_allclose(ramp().smooth(2, kernel="disk").data, RAMP["disk"])
        assert_allclose(ramp().smooth(3, kernel="box").data, RAMP["box"])
        kernel = np.arange(15.0).reshape(3, 5)
        for method in ("fft", "direct"):
            assert_allclose(ramp().convolve(kernel, method=method).data, RAMP["convolve"])

    @pytest.mark.parametrize("kernel", ["gauss", "disk", "box"])
    def test_smooth_conserves_and_keeps_units(self, kernel):
        image = Map.create(npix=41, binsz=(0.1, 0.2), unit="s")
        image.data[20, 20] = 5
        smooth = image.smooth(0.6 * u.deg, kernel=kernel)
        assert smooth.unit == "s"
        assert_allclose(smooth.data.sum(), 5)
        # The same width on the sky in both directions, whatever the shape of the pixels.
        if kernel == "gauss":
            y, x = np.mgrid[-20:21, -20:21]
            variance = [np.sum(smooth.data * (w * p) ** 2) / 5 for w, p in ((0.1, x), (0.2, y))]
            assert_allclose(variance, 0.36, rtol=0.01)

    def test_smooth_mistakes(self):
        with pytest.raises(DataError, match="kernel"):
            ramp().smooth(1, kernel="ring")
        with pytest.raises(UnitsError, match="angle"):
            ramp().smooth("1 TeV")
        with pytest.raises(DataError, match="positive"):
            ramp().smooth(-1)

    def test_convolve_one_kernel_per_energy(self):
        cube, kernel = ramp(CUBE), np.zeros((2, 3, 3))
        kernel[0, 1, 1], kernel[1, 1, 1] = 1, 2
        assert_allclose(cube.convolve(kernel).data, cube.data * np.array([1, 2])[:, None, None], atol=1e-9)
        full = cube.convolve(kernel, mode="full")
        assert full.data.shape == full.geom.data_shape == (2, 8, 10)
        assert full.geom.crop(1) == CUBE
        large = ramp().convolve(np.ones((21, 21)))
        assert_allclose(large.data, ramp().data.sum())
        with pytest.raises(DataError, match="kernel"):
            cube.convolve(np.ones((3, 3, 3)))
        with pytest.raises(DataError, match="mode"):
            cube.convolve(kernel, mode="valid")

    def test_morphology(self):
        mask = WcsNDMap(CUBE, dtype=bool)
        mask.data[:, 2:5, 2:6] = True
        for width, kernel, eroded, dilated in (
            ("0.5 deg", "disk", 2, 26),
            (1, "box", 2, 30),
            (2, "disk", 0, 40),
        ):
            assert mask.binary_erode(width, kernel).data[0].sum() == eroded
            assert mask.binary_dilate(width, kernel).data[0].sum() == dilated
        assert WcsNDMap(GEOM, data=True).binary_erode(1).data.sum() == 4 * 6
        with pytest.raises(DataError, match="boolean"):
            ramp().binary_erode(1)


class TestRegions:
    circle = "galactic;circle(0, 5, 0.9)"

    def test_sums(self):
        spectrum = ramp(CUBE).to_region_nd_map(self.circle)
        assert isinstance(spectrum, RegionNDMap)
        assert_allclose(spectrum.data[0], RAMP["circle"][0])
        mean = ramp(CUBE).get_spectrum(self.circle, func=np.mean)
        assert_allclose(mean.data * 12, spectrum.data)
        weights = ramp(CUBE) < 50
        assert ramp(CUBE).get_spectrum(self.circle, weights=weights).data[1] == 0

    def test_everything(self):
        spectrum = ramp(CUBE).to_region_nd_map()
        assert_allclose(spectrum.data.ravel(), ramp(CUBE).data.sum(axis=(1, 2)))
        assert spectrum.geom.region.sizes == (4.0, 3.0)

    def test_point(self):
        assert ramp().to_region_nd_map(sky(0.01, 5.01)).data == ramp().get_by_coord(
            {"skycoord": sky(0.01, 5.01)}
        )
        linear = ramp(CUBE).to_region_nd_map(sky(0, 5), method="linear")
        assert_allclose(linear.data.ravel(), [23.5, 71.5])
        with pytest.raises(DataError, match="contain"):
            ramp().to_region_nd_map(sky(30, 5))
        with pytest.raises(DataError, match="no pixel"):
            ramp().to_region_nd_map("galactic;circle(30, 5, 1)")
        with pytest.raises(DataError, match="method"):
            ramp().to_region_nd_map(sky(0, 5), method="cubic")


class TestPlots:
    def test_image(self):
        ax = ramp().plot(add_cbar=True, stretch="sqrt")
        assert ax.get_images()[0].get_array().shape == (6, 8)
        assert ax.coords[0].get_axislabel() == "Galactic longitude"
        (ramp() > 20).plot_mask(ax=ax)
        assert_allclose(ax.get_xlim(), (-0.5, 7.5))
        plt.close("all")

    def test_one_colour(self):
        WcsNDMap(GEOM).plot(cmap="viridis", vmin=0)
        WcsNDMap(GEOM, data=np.nan).plot()
        plt.close("all")

    def test_grid(self):
        panels = ramp(CUBE).plot_grid(ncols=5)
        assert [ax.get_title() for ax in panels] == ENERGY.as_plot_labels
        plt.close("all")

    def test_mistakes(self):
        with pytest.raises(DataError, match="plot_grid"):
            ramp(CUBE).plot()
        with pytest.raises(DataError, match="boolean"):
            ramp().plot_mask()
        figure, ax = plt.subplots()
        with pytest.raises(DataError, match="projection"):
            ramp().plot(ax=ax)
        plt.close(figure)


def test_directions_as_they_are():
    """Alone for an image, before the others for a cube; outside there is nothing to extrapolate."""
    image, cube = ramp(), ramp(CUBE)
    position = SkyCoord([0.1, 60], [5.2, 5.2], unit="deg", frame="galactic").icrs
    for method in ("get_by_coord", "interp_by_coord"):
        expected = getattr(image, method)({"skycoord": position})
        assert np.isfinite(expected[0])
        assert np.isnan(expected[1])
        assert_array_equal(getattr(image, method)(position), expected)
        expected = getattr(cube, method)({"skycoord": position, "energy": [2, 20] * u.TeV})
        assert_array_equal(getattr(cube, method)((position, [2, 20] * u.TeV)), expected)
