import io
import warnings

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from villard.exceptions import DataError, FileFormatError, OverwriteError, UnitsError, VillardError
from villard.maps import Map, MapAxis, MapCoord, RegionGeom, RegionNDMap

REGION = "icrs;circle(83.63, 22.01, 0.11)"
ENERGY = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=8)
OFFSET = MapAxis.from_edges([0, 1, 2, 3], unit="deg", name="offset")
GEOM = RegionGeom(REGION, axes=[ENERGY])
CUBE = RegionGeom(REGION, axes=[ENERGY, OFFSET])


def ramp(geom=GEOM, unit=""):
    return RegionNDMap(geom, data=np.arange(np.prod(geom.data_shape)).reshape(geom.data_shape), unit=unit)


class TestGeom:
    def test_shape_has_axes_in_reverse_order(self):
        assert GEOM.data_shape == (8, 1, 1)
        assert CUBE.data_shape == (3, 8, 1, 1)
        assert CUBE.axes_names == ["lon", "lat", "energy", "offset"]
        assert CUBE.to_image().is_image
        assert GEOM.has_energy_axis

    def test_derived(self):
        assert CUBE.squash("energy").data_shape == (3, 1, 1, 1)
        assert CUBE.drop("energy").data_shape == (3, 1, 1)
        assert GEOM.as_energy_true().axes.names == ["energy_true"]
        assert GEOM.to_cube([OFFSET]) == CUBE
        assert CUBE.slice_by_idx({"offset": 0}) == GEOM
        assert GEOM.replace_axis(ENERGY.squash()).data_shape == (1, 1, 1)
        assert hash(GEOM) == hash(RegionGeom(REGION, axes=[ENERGY.copy()]))

    def test_comparison(self):
        assert RegionGeom(REGION, axes=[ENERGY]) == GEOM
        assert RegionGeom(None, axes=[ENERGY]) != GEOM
        assert RegionGeom("icrs;circle(83.63, 22.01, 0.12)", axes=[ENERGY]) != GEOM
        assert RegionGeom(REGION, axes=[ENERGY.upsample(2)]) != GEOM

    def test_sky(self):
        assert_allclose(GEOM.center_skydir.ra.deg, 83.63)
        assert GEOM.frame == "icrs"
        assert_allclose(GEOM.solid_angle().to_value("deg2"), np.pi * 0.0121, rtol=1e-5)
        empty = RegionGeom(None, axes=[ENERGY])
        assert empty.center_skydir is None
        assert empty.frame is None
        with pytest.raises(DataError, match="has no region"):
            empty.solid_angle()
        with pytest.raises(DataError, match="has no region"):
            empty.contains(SkyCoord(0, 0, unit="deg"))

    def test_coordinates(self):
        coord = CUBE.get_coord()
        assert coord["energy"].shape == CUBE.data_shape
        assert_array_equal(coord["offset"][:, 0, 0, 0], OFFSET.center)
        assert coord.shape == CUBE.data_shape
        sparse = CUBE.get_coord(sparse=True)
        assert sparse["energy"].shape == (1, 8, 1, 1)
        assert sparse.shape == CUBE.data_shape
        assert_allclose(sparse.skycoord.dec.deg, 22.01)
        with pytest.raises(DataError, match="No coordinate 'time'"):
            _ = sparse["time"]

    def test_text(self):
        assert "icrs;circle(83.63, 22.01, 0.11)" in str(GEOM)
        assert "RegionGeom" in repr(GEOM)


class TestEnergyMask:
    def test_hess_crab_range(self):
        # The 80 bins, 20 per decade, of the public H.E.S.S. Crab spectra; published fit range.
        geom = RegionGeom(None, axes=[MapAxis.from_energy_bounds("0.01 TeV", "100 TeV", nbin=80)])
        mask = geom.energy_mask(0.66 * u.TeV, 30 * u.TeV)
        assert mask.data.sum() == 32
        assert mask.data.shape == (80, 1, 1)
        assert mask.is_mask

    def test_hess_crab_files(self, gammapy_data):
        for path in sorted((gammapy_data / "joint-crab/spectra/hess").glob("pha_*.fits")):
            counts = RegionNDMap.read(path)
            assert counts.geom.energy_mask(0.66 * u.TeV, 30 * u.TeV).data.sum() == 32

    @given(st.integers(0, 7), st.integers(1, 8), st.floats(-2e-7, 2e-7))
    def test_limits_at_an_edge_survive_rounding(self, a, b, error):
        first, last = min(a, b), max(a, b)
        mask = GEOM.energy_mask(ENERGY.edges[first] * (1 + error), ENERGY.edges[last] * (1 + error))
        expected = (np.arange(8) >= first) & (np.arange(8) < last)
        assert_array_equal(mask.data.ravel(), expected)

    def test_limits_in_32_bit_kev(self):
        geom = RegionGeom(None, axes=[MapAxis.from_energy_edges(ENERGY.edges.to("keV").astype("f4"))])
        for edge in ENERGY.edges[1:-1]:
            lower, upper = geom.energy_mask(energy_max=edge), geom.energy_mask(energy_min=edge)
            assert (lower.data ^ upper.data).all()

    @given(st.floats(0.05, 20), st.floats(0.05, 20))
    def test_bins_inside_are_inside(self, a, b):
        lo, hi = sorted([a, b])
        mask = GEOM.energy_mask(lo * u.TeV, hi * u.TeV).data.ravel()
        edges = ENERGY.edges.value
        assert_array_equal(mask, (edges[:-1] >= lo * (1 - 1e-6)) & (edges[1:] <= hi * (1 + 1e-6)))

    def test_round_to_edge(self):
        # gammapy 2.1: 0.31 TeV lies nearest to 0.316 TeV.
        assert GEOM.energy_mask(0.33 * u.TeV).data.sum() == 5
        assert GEOM.energy_mask(0.33 * u.TeV, round_to_edge=True).data.sum() == 6

    def test_open_limits_strings_and_true_energy(self):
        assert GEOM.energy_mask().data.all()
        assert GEOM.energy_mask("1 TeV").data.sum() == 4
        assert GEOM.as_energy_true().energy_mask("1000 GeV").data.sum() == 4
        mask = CUBE.energy_mask("1 TeV")
        assert mask.data.shape == CUBE.data_shape
        assert mask.data.sum() == 12

    def test_errors_are_named(self):
        with pytest.raises(UnitsError, match="expected a quantity in TeV, found m"):
            GEOM.energy_mask(1 * u.m)
        with pytest.raises(DataError, match="positive limit"):
            GEOM.energy_mask(-1 * u.TeV)
        with pytest.raises(
            DataError, match=r"expected energy_min below energy_max, found 3.0 TeV and 500.0 GeV"
        ):
            GEOM.energy_mask(3 * u.TeV, 500 * u.GeV)
        with pytest.raises(DataError, match="axis of energy"):
            RegionGeom(None, axes=[OFFSET]).energy_mask(1 * u.TeV)


class TestContent:
    def test_create(self):
        counts = RegionNDMap.create(REGION, axes=[ENERGY], unit="s")
        assert counts.data.dtype == float
        assert counts.geom == GEOM
        assert not counts.data.any()
        assert isinstance(Map.create(REGION, axes=[ENERGY]), RegionNDMap)
        assert isinstance(Map.from_geom(GEOM, dtype=bool), RegionNDMap)
        with pytest.raises(DataError, match="map_type"):
            Map.create(map_type="hpx2")

    def test_shapes(self):
        for data in (np.ones(8), np.ones((8, 1, 1)), np.ones((8, 1)), 1.0, np.ones((1, 1, 1))):
            assert RegionNDMap(GEOM, data=data).data.shape == (8, 1, 1)
        for data in (np.ones(7), np.ones((1, 1, 8, 2)), np.ones((2, 4))):
            with pytest.raises(DataError, match=r"expected the shape \(8, 1, 1\), found"):
                RegionNDMap(GEOM, data=data)
        with pytest.raises(DataError, match="expected real numbers"):
            RegionNDMap(GEOM, data=["a"] * 8)
        with pytest.raises(DataError, match="plain numbers"):
            RegionNDMap(GEOM, data=np.ones(8) * u.s)

    def test_transposed_cube_is_refused(self):
        with pytest.raises(DataError, match="expected the shape"):
            RegionNDMap(CUBE, data=np.ones((8, 3)))

    def test_quantity(self):
        exposure = ramp(unit="m2 s")
        assert exposure.quantity.unit == "m2 s"
        exposure.quantity = np.ones(8) * u.Unit("cm2 s")
        assert exposure.unit == "cm2 s"
        assert exposure.data.sum() == 8
        with pytest.raises(UnitsError, match="unknown unit"):
            RegionNDMap(GEOM, unit="parrot")

    def test_to_unit_and_copy(self):
        exposure = ramp(unit="m2 s")
        assert_allclose(exposure.to_unit("cm2 s").data, 1e4 * exposure.data)
        with pytest.raises(UnitsError, match="can't be converted"):
            exposure.to_unit("TeV")
        copied = exposure.copy()
        copied.data[0] = 99
        assert exposure.data[0] == 0
        assert exposure.copy(unit="cm2 s").unit == "cm2 s"

    def test_is_allclose(self):
        assert ramp(unit="m2").is_allclose(ramp(unit="m2").to_unit("cm2"))
        assert not ramp().is_allclose(ramp() + 1)
        assert not ramp().is_allclose(ramp(unit="s"))
        assert not ramp().is_allclose(ramp(CUBE))

    def test_text(self):
        assert repr(ramp(unit="s")) == "RegionNDMap(energy: 8, unit='s', dtype=int64)"
        assert "shape : (8, 1, 1)" in str(ramp())


class TestOperators:
    def test_arithmetic_with_units(self):
        a, b = ramp(unit="m2"), ramp(unit="cm2")
        assert_allclose((a + b).data, ramp().data * (1 + 1e-4))
        assert (a + b).unit == "m2"
        assert (a * b).unit == "m2 cm2"
        assert (a / (2 * u.s)).unit == "m2 / s"
        assert (3 * u.s * a).unit == "s m2"
        assert (1 / (a + 1 * u.m**2)).unit == "1 / m2"
        assert_allclose((5 * u.m**2 - a).data, 5 - a.data)
        assert_allclose((-a).data, -a.data)
        assert (a**2).unit == "m4"

    def test_in_place(self):
        a = ramp(unit="m2")
        b = a
        b += 1 * u.m**2
        assert a is b
        assert a.data[0] == 1
        a *= 2 * u.s
        assert a.unit == "m2 s"
        a -= 1 * a.unit
        a /= 2
        assert_allclose(a.data.ravel()[0], 0.5)

    def test_comparison_and_logic(self):
        a = ramp(unit="TeV")
        low, high = a < 2000 * u.GeV, a >= 5 * u.TeV
        assert (low | high).data.sum() == 5
        assert not (low & high).data.any()
        assert (~low).data.sum() == 6
        assert (low ^ low).data.sum() == 0
        assert (a == a).data.all()
        assert not (a != a).data.any()
        assert ((a > 3 * u.TeV).data == ~(a <= 3 * u.TeV).data).all()
        with pytest.raises(DataError, match="boolean maps"):
            _ = a & low
        with pytest.raises(DataError, match="boolean maps"):
            _ = ~a

    def test_one_bin_fits_many(self):
        a = ramp()
        assert_allclose((a / a.sum_over_axes()).data.sum(), 1)

    def test_errors_are_named(self):
        a = ramp(unit="s")
        with pytest.raises(UnitsError, match="Map in s: an operand in TeV"):
            _ = a + 1 * u.TeV
        with pytest.raises(UnitsError, match="Map in s: an operand in no unit"):
            _ = a + 1
        with pytest.raises(DataError, match="different geometries"):
            _ = ramp() + RegionNDMap(RegionGeom(None, axes=[ENERGY.slice(slice(0, 4))]))
        with pytest.raises(DataError, match="different geometries"):
            _ = ramp() + RegionNDMap(RegionGeom(None, axes=[ENERGY.rename("energy_true")]))
        with pytest.raises(DataError, match=r"operand of shape \(3,\)"):
            _ = ramp() + np.ones(3)
        with pytest.raises(DataError, match="found None"):
            _ = ramp() + None

    @given(st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=8))
    def test_numpy_gives_the_same(self, values):
        a = RegionNDMap(GEOM, data=values)
        array = np.array(values).reshape(8, 1, 1)
        assert_array_equal((a * 2 + a).data, array * 2 + array)
        assert_array_equal(np.asarray(a), array)
        assert_array_equal((array * a).data, array**2)


class TestReduction:
    def test_sums(self):
        counts = ramp(CUBE)
        assert counts.sum_over_axes().data.shape == (1, 1, 1, 1)
        assert counts.sum_over_axes(keepdims=False).data.shape == (1, 1)
        assert_allclose(counts.sum_over_axes(["offset"], keepdims=False).data, counts.data.sum(axis=0))
        assert_allclose(
            counts.sum_over_axes(weights=counts > 3).data.sum(), counts.data[counts.data > 3].sum()
        )
        mask = counts > 3
        assert mask.reduce_over_axes(np.logical_or, keepdims=False).data.all()
        assert_allclose(ramp().cumsum("energy").data.ravel(), np.cumsum(np.arange(8)))

    def test_resample(self):
        axis = MapAxis.from_energy_edges([0.3, 1, 5] * u.TeV)
        joined = ramp().resample_axis(axis)
        assert_allclose(joined.data.ravel(), [2 + 3, 4 + 5 + 6])
        assert_allclose(joined.geom.axes["energy"].edges.value, [0.31622777, 1, 5.62341325])
        mask = ramp() > 2
        assert_allclose(ramp().resample_axis(axis, weights=mask).data.ravel(), [3, 15])
        assert_array_equal(mask.resample_axis(axis, ufunc=np.logical_and).data.ravel(), [False, True])

    @given(st.integers(2, 9), st.integers(0, 8))
    def test_resampling_keeps_the_sum(self, nbin, seed):
        counts = RegionNDMap(GEOM, data=np.random.default_rng(seed).poisson(5, 8))
        axis = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=nbin)
        assert counts.resample_axis(axis).data.sum() == counts.data.sum()

    def test_stack(self):
        total = ramp(unit="m2")
        other = ramp(unit="m2").to_unit("cm2")
        other.data[0] = np.nan
        total.stack(other, weights=ramp() < 5)
        assert_allclose(total.data.ravel(), [0, 2, 4, 6, 8, 5, 6, 7])
        mask = GEOM.energy_mask("1 TeV")
        mask.stack(~mask)
        assert mask.data.all()
        assert mask.is_mask

    def test_slices(self):
        counts = ramp(CUBE)
        assert counts.slice_by_idx({"offset": 1}).data.shape == (8, 1, 1)
        assert_array_equal(counts.slice_by_idx({"offset": 1}).data, counts.data[1])
        assert counts.slice_by_idx({"energy": slice(2, 5)}).data.shape == (3, 3, 1, 1)
        part = ramp().slice_by_energy(0.3 * u.TeV, 1 * u.TeV)
        assert_array_equal(part.data.ravel(), [2, 3])
        assert_allclose(part.geom.axes["energy"].bounds.value, [0.31622777, 1])
        assert ramp().rename_axes("energy", "energy_true").geom.axes.names == ["energy_true"]
        part.data[0] = 99
        with pytest.raises(DataError, match="axis of energy"):
            RegionNDMap.create(None, axes=[OFFSET]).slice_by_energy(1 * u.TeV, 2 * u.TeV)


class TestLookup:
    def test_by_coord(self):
        counts = ramp()
        values = counts.get_by_coord({"energy": [0.11, 0.9, 20, 0.01] * u.TeV})
        assert_array_equal(values, [0, 3, np.nan, np.nan])
        assert_array_equal(counts.get_by_coord(([1.1] * u.TeV,)), [4])
        here, there = SkyCoord([83.63, 80], [22.01, 22], unit="deg")
        assert counts.get_by_coord({"energy": 1.1 * u.TeV, "skycoord": here}) == 4
        assert np.isnan(counts.get_by_coord({"energy": 1.1 * u.TeV, "skycoord": there}))
        assert_array_equal(ramp(CUBE).get_by_coord(CUBE.get_coord()), ramp(CUBE).data)
        with pytest.raises(DataError, match="one coordinate for each"):
            counts.get_by_coord((1, 2))

    def test_by_idx(self):
        assert_array_equal(ramp(CUBE).get_by_idx((0, 0, [1, 2], 2)), [17, 18])

    def test_fill_and_set(self):
        counts = RegionNDMap.create(REGION, axes=[ENERGY])
        counts.fill_by_coord({"energy": [0.11, 0.11, 1.1, 200] * u.TeV})
        assert_array_equal(counts.data.ravel(), [2, 0, 0, 0, 1, 0, 0, 0])
        counts.fill_by_coord({"energy": [1.1, 9] * u.TeV}, weights=[2, 3])
        assert_array_equal(counts.data.ravel(), [2, 0, 0, 0, 3, 0, 0, 3])
        counts.set_by_coord({"energy": [1.1] * u.TeV}, 7)
        assert counts.data.sum() == 12
        with pytest.raises(DataError, match="outside the axes"):
            counts.set_by_coord({"energy": [100] * u.TeV}, 7)

    @given(st.floats(0.13, 7.4), st.floats(-3, 3), st.floats(-3, 3))
    def test_interpolation_is_exact_for_lines_on_the_scale(self, energy, a, b):
        linear = RegionNDMap(GEOM, data=a + b * np.log(ENERGY.center.value))
        assert_allclose(
            linear.interp_by_coord({"energy": energy * u.TeV}), a + b * np.log(energy), atol=1e-12
        )
        power_law = RegionNDMap(GEOM, data=np.exp(linear.data))
        values = power_law.interp_by_coord({"energy": energy * u.TeV}, values_scale="log")
        assert_allclose(values, np.exp(a + b * np.log(energy)), rtol=1e-12)

    def test_interpolation_in_two_dimensions_and_beyond(self):
        geom = RegionGeom(None, axes=[ENERGY, OFFSET])
        coord = geom.get_coord()
        data = 2 * np.log(coord["energy"].value) - 3 * coord["offset"].value
        plane = RegionNDMap(geom, data=data)
        values = plane.interp_by_coord({"energy": [1, 50] * u.TeV, "offset": [0.7, 4] * u.deg})
        assert_allclose(values, [-2.1, 2 * np.log(50) - 12], atol=1e-12)
        filled = plane.interp_by_coord({"energy": [1, 50] * u.TeV, "offset": 1 * u.deg}, fill_value=0)
        assert_allclose(filled, [-3, 0], atol=1e-12)

    def test_interpolation_of_one_bin_is_constant(self):
        flat = RegionNDMap(RegionGeom(None, axes=[ENERGY.squash()]), data=5)
        assert_allclose(flat.interp_by_coord({"energy": [0.1, 1, 10] * u.TeV}), 5)

    def test_map_coord(self):
        coord = MapCoord({"energy": [1, 2] * u.TeV})
        assert list(coord) == ["energy"]
        assert "energy" in coord
        assert repr(coord) == "MapCoord(energy, shape=(2,))"


class TestFiles:
    @pytest.mark.parametrize("geom", [GEOM, CUBE, GEOM.as_energy_true(), RegionGeom(None, axes=[ENERGY])])
    @pytest.mark.parametrize("dtype", [float, np.float32, int, np.int32, bool])
    def test_gadf_round_trip(self, geom, dtype, tmp_path):
        written = ramp(geom)
        written.data = written.data.astype(dtype)
        written.write(tmp_path / "map.fits.gz")
        read = Map.read(tmp_path / "map.fits.gz")
        assert read.is_allclose(written)
        assert read.data.dtype == dtype
        assert read.geom == geom

    def test_nodes_round_trip(self, tmp_path):
        axis = MapAxis.from_nodes([1, 10, 100], interp="log", name="energy_true", unit="GeV")
        written = RegionNDMap(RegionGeom(REGION, axes=[axis]), data=[1, 2, 3], unit="m2 s")
        written.write(tmp_path / "map.fits")
        read = RegionNDMap.read(tmp_path / "map.fits")
        assert read.is_allclose(written)
        assert read.unit == "m2 s"
        assert read.geom.axes["energy_true"].node_type == "center"

    def test_counts_round_trip(self, tmp_path):
        ramp().write(tmp_path / "pha.fits", format="ogip")
        assert RegionNDMap.read(tmp_path / "pha.fits").is_allclose(ramp())
        with fits.open(tmp_path / "pha.fits") as hdulist:
            assert [hdu.name for hdu in hdulist] == ["PRIMARY", "SPECTRUM", "EBOUNDS", "REGION"]
            assert hdulist["SPECTRUM"].header["DETCHANS"] == 8
        with pytest.raises(DataError, match="whole counts"):
            (ramp() + 0.5).write(tmp_path / "fraction.fits", format="ogip")
        assert not (tmp_path / "fraction.fits").exists()

    def test_area_round_trip(self, tmp_path):
        area = ramp(GEOM.as_energy_true(), unit="m2")
        area.write(tmp_path / "arf.fits", format="ogip-arf")
        assert_allclose(RegionNDMap.read(tmp_path / "arf.fits").quantity.value, area.quantity.value)

    @pytest.mark.parametrize("format", ["gadf", "ogip", "ogip-arf"])
    def test_table_round_trip(self, format):
        written = ramp(
            GEOM.as_energy_true() if format == "ogip-arf" else GEOM, unit="m2" if format != "ogip" else ""
        )
        read = RegionNDMap.from_table(written.to_table(format), format, axes=written.geom.axes)
        assert_allclose(read.data, written.data)
        assert read.unit == written.unit

    def test_existing_file_stays(self, tmp_path):
        ramp().write(tmp_path / "map.fits")
        with pytest.raises(OverwriteError, match="overwrite=True"):
            (ramp() + 1).write(tmp_path / "map.fits")
        assert RegionNDMap.read(tmp_path / "map.fits").is_allclose(ramp())
        (ramp() + 1).write(tmp_path / "map.fits", overwrite=True)

    def test_errors_are_named(self, tmp_path):
        with pytest.raises(DataError, match="File not found"):
            RegionNDMap.read(tmp_path / "none.fits")
        (tmp_path / "text.fits").write_text("not a FITS file")
        with pytest.raises(FileFormatError, match=r"text\.fits"):
            RegionNDMap.read(tmp_path / "text.fits")
        fits.PrimaryHDU(np.ones((2, 2))).writeto(tmp_path / "image.fits")
        with pytest.raises(FileFormatError, match="expected a table, found none"):
            RegionNDMap.read(tmp_path / "image.fits")
        with pytest.raises(DataError, match="Unknown map format"):
            ramp().to_hdulist(format="csv")
        hdulist = ramp().to_hdulist(format="ogip")
        hdulist["EBOUNDS"].data = hdulist["EBOUNDS"].data[:5]
        hdulist.writeto(tmp_path / "short.fits")
        with pytest.raises(
            FileFormatError, match=r"short\.fits, .*expected 5 channels as in EBOUNDS, found 8"
        ):
            RegionNDMap.read(tmp_path / "short.fits")


class TestPlots:
    def test_plot(self):
        ax = ramp(unit="m2 s").plot()
        assert ax.get_xlabel() == "Energy [TeV]"
        assert ax.get_ylabel() == "Data [m2 s]"
        assert ax.get_xscale() == "log"
        assert ax.get_yscale() == "log"

    def test_plot_several_axes(self):
        _, ax = plt.subplots()
        ramp(CUBE).plot(ax=ax, axis_name="energy")
        assert len(ax.get_legend().get_texts()) == 3
        with pytest.raises(DataError, match="axis_name"):
            ramp(CUBE).plot()
        with pytest.raises(DataError, match="No axis of the name"):
            ramp(CUBE).plot(axis_name="time")

    def test_negative_values_are_on_a_linear_scale(self):
        assert (ramp() - 4).plot_hist(color="k").get_yscale() == "linear"

    def test_plot_mask_shades_ranges(self):
        mask = GEOM.energy_mask("0.3 TeV", "1 TeV") | GEOM.energy_mask("2 TeV", "6 TeV")
        ax = mask.plot_mask(label="used")
        assert len(ax.patches) == 2
        assert [patch.get_label() for patch in ax.patches].count("used") == 1
        with pytest.raises(DataError, match="boolean map"):
            ramp().plot_mask()


@given(data=st.data(), format=st.sampled_from(["gadf", "ogip"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_named_errors(data, format, tmp_path):
    buffer = io.BytesIO()
    ramp().to_hdulist(format=format).writeto(buffer)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "bytes.fits"
    path.write_bytes(bytes(content))
    with warnings.catch_warnings():
        # What astropy warns of is beside the point here.
        warnings.simplefilter("ignore")
        try:
            RegionNDMap.read(path)
        except VillardError as error:
            message = str(error)
        else:
            message = path.name
    assert path.name in message
