import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from villard.exceptions import DataError, FileFormatError, UnitsError
from villard.maps import MapAxes, MapAxis
from villard.maps.axis_io import axis_from_bounds


@st.composite
def axes(draw, interps=("lin", "log", "sqrt"), node_types=("edges", "center")):
    """Axes of any kind, with bins whose widths differ by less than a factor of 1e4."""
    interp = draw(st.sampled_from(interps))
    node_type = draw(st.sampled_from(node_types))
    steps = draw(st.lists(st.floats(1e-2, 1e2), min_size=2, max_size=12))
    nodes = np.cumsum([draw(st.floats(0.1, 10)), *steps])
    if interp == "log" and node_type == "edges":
        nodes = 10 ** (nodes / 100)
    if interp != "lin" and node_type == "center":
        # Outer edges of an axis in square root must stay positive.
        nodes = (10 + np.arange(len(nodes))) ** 2.0
    return MapAxis(nodes, interp=interp, node_type=node_type, unit="TeV", name="energy")


@given(axes())
def test_coordinates_round_trip(axis):
    pix = np.linspace(-0.5, axis.nbin - 0.5, 37)
    assert_allclose(axis.coord_to_pix(axis.pix_to_coord(pix)), pix, atol=1e-7)


@given(axes())
def test_edges_and_centers_are_half_a_pixel_apart(axis):
    assert_allclose(axis.coord_to_pix(axis.center), np.arange(axis.nbin), atol=1e-7)
    assert_allclose(axis.coord_to_pix(axis.edges), np.arange(axis.nbin + 1) - 0.5, atol=1e-7)


@given(axes())
def test_every_center_is_in_its_bin(axis):
    assert_array_equal(axis.coord_to_idx(axis.center), np.arange(axis.nbin))
    assert_array_equal(axis.coord_to_idx(axis.edges_min), np.arange(axis.nbin))
    assert axis.coord_to_idx(axis.edges[-1]) == axis.nbin - 1


@given(axes(node_types=("edges",)), st.integers(1, 5))
def test_upsample_then_downsample_is_identity(axis, factor):
    assert axis.upsample(factor).nbin == axis.nbin * factor
    assert_allclose(axis.upsample(factor).downsample(factor).edges.value, axis.edges.value, rtol=1e-9)


@given(axes(interps=("lin", "log")), st.data())
def test_slice_and_concatenate_give_the_axis_back(axis, data):
    if axis.nbin < 2:
        return
    split = data.draw(st.integers(1, axis.nbin - 1))
    joined = axis.slice(slice(None, split)).concatenate(axis.slice(slice(split, None)))
    assert joined == axis
    assert MapAxis.from_stack([joined]) == axis


@given(axes())
def test_rounding_to_edges(axis):
    assert_array_equal(axis.round(axis.edges).value, axis.edges.value)
    assert_array_equal(axis.round(axis.edges[-1] * 10, clip=True), axis.edges[-1])
    assert np.isnan(axis.round(axis.edges[-1] * 10))


@given(axes(interps=("log",)), st.lists(st.floats(0.1, 1000), min_size=2, max_size=6, unique=True))
def test_groups_cover_every_bin_once(axis, edges):
    try:
        table = axis.group_table(np.sort(edges) * u.TeV)
    except DataError:
        return
    idx = np.concatenate([np.arange(row["idx_min"], row["idx_max"] + 1) for row in table])
    assert_array_equal(idx, np.arange(axis.nbin))
    assert_array_equal(table["energy_min"][1:], table["energy_max"][:-1])


@pytest.mark.parametrize("format", ["ogip", "ogip-sherpa", "gadf", "gadf-dl3"])
def test_table_round_trip(format):
    axis = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=7)
    assert MapAxis.from_table(axis.to_table(format), format=format) == axis
    if format != "gadf-dl3":
        assert MapAxis.from_table_hdu(axis.to_table_hdu(format), format=format) == axis


def test_table_round_trip_of_true_energies_and_offsets():
    axis = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=7, name="energy_true")
    for format in ["ogip-arf", "gadf"]:
        assert MapAxis.from_table(axis.to_table(format), format=format) == axis
    offset = MapAxis.from_edges([0, 1, 2.5], unit="deg", name="offset")
    for format in ["gadf", "gadf-dl3"]:
        assert MapAxis.from_table(offset.to_table(format), format=format) == offset
    nodes = MapAxis.from_nodes([0.1, 1, 10], unit="TeV", interp="log", name="energy_true")
    assert MapAxis.from_table(nodes.to_table("gadf"), format="gadf") == nodes


def test_group_table_moves_edges_to_the_nearest():
    # Numbers: gammapy 2.1, MapAxis.group_table on the same axis.
    axis = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=8)
    table = axis.group_table([0.3, 1, 5] * u.TeV)
    assert list(table["bin_type"]) == ["underflow", "normal", "normal", "overflow"]
    assert list(table["idx_min"]) == [0, 2, 4, 7]
    assert list(table["idx_max"]) == [1, 3, 6, 7]
    assert_allclose(table["energy_max"], [0.31622777, 1, 5.62341325, 10], rtol=1e-7)
    inside = axis.group_table([0.01, 1, 50] * u.TeV)
    assert list(inside["bin_type"]) == ["normal", "normal"]
    for edges in ([0.3, 0.31], [1, 1], [20, 30]):
        with pytest.raises(DataError, match="has no bin between"):
            axis.group_table(edges * u.TeV)


def test_log_axis_has_geometric_centers():
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    assert_allclose(axis.center.value, np.sqrt([10, 1000]), rtol=1e-12)
    assert_array_equal(axis.edges.value, [1, 10, 100])
    assert_array_equal(axis.bin_width.value, [9, 90])
    assert axis.nbin_per_decade == 1


def test_centers_as_nodes():
    axis = MapAxis.from_nodes([1, 10, 100], interp="log", unit="GeV", name="energy_true")
    assert_allclose(axis.edges.value, 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]), rtol=1e-12)
    assert_array_equal(axis.center.value, [1, 10, 100])
    assert_allclose(MapAxis.from_nodes([2.0], name="x").edges.value, [1.5, 2.5])


def test_engine_unit():
    axis = MapAxis.from_energy_edges([1e9, 1e10] * u.keV)
    assert_allclose(axis.edges_engine, [1, 10])
    assert_allclose(axis.center_engine, np.sqrt(10))
    assert not isinstance(axis.edges_engine, u.Quantity)
    assert axis.edges_engine is axis.edges_engine


def test_axis_is_immutable():
    axis = MapAxis.from_edges([1, 2, 3])
    for array in (axis.edges, axis.center, axis.bin_width, axis.edges_engine, axis.edges_min):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
    with pytest.raises(AttributeError):
        axis.name = "other"  # type: ignore[misc]
    nodes = np.array([1.0, 2.0])
    axis = MapAxis(nodes)
    nodes[0] = 0
    assert axis.edges[0] == 1


def test_equality_ignores_rounding_and_unit():
    a = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=8)
    b = MapAxis.from_energy_edges(a.edges.to("keV").astype("f4"))
    assert a == b
    assert hash(a) == hash(b)
    assert a.to_unit("keV") == b
    assert a != a.rename("energy_true")
    assert a != a.slice(slice(0, 7))
    assert a != MapAxis.from_energy_bounds("0.1 TeV", "10.1 TeV", nbin=8)
    assert a != "axis"


def test_evenly_spaced_centers_stay_so():
    axis = MapAxis.from_nodes([1, 2, 3, 4], name="x")
    assert_allclose(axis.upsample(2).center.value, np.arange(8) / 2 + 0.75)
    assert_allclose(axis.downsample(2).center.value, [1.5, 3.5])


def test_pad_and_squash():
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    assert_allclose(axis.pad(1).edges.value, [0.1, 1, 10, 100, 1000])
    assert_allclose(axis.pad((0, 1)).edges.value, [1, 10, 100, 1000])
    assert_allclose(axis.squash().edges.value, [1, 100])
    assert_allclose(axis.resample(axis.squash()).edges.value, [1, 100])


def test_text():
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    assert repr(axis) == "MapAxis('energy', 2 bins, edges 1 to 100 TeV, interp='log')"
    assert "nbins     : 2" in str(axis)
    assert axis.as_plot_label == "Energy [TeV]"
    assert axis.as_plot_labels[0] == "1.00e+00 - 1.00e+01 TeV"
    assert len(list(axis.iter_by_edges)) == 2


def test_plots_of_gamma_ray_energies_in_kev_are_in_tev():
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2).to_unit("keV")
    assert axis.as_plot_label == "Energy [TeV]"
    assert_allclose(axis.as_plot_edges.value, [1, 10, 100])
    assert_allclose(axis.as_plot_center.value - axis.as_plot_xerr[0].value, [1, 10])
    assert axis.as_plot_labels[0] == "1.00e+00 - 1.00e+01 TeV"
    soft = MapAxis.from_energy_edges([0.3, 1, 10] * u.keV)
    assert soft.as_plot_label == "Energy [keV]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": [1, 3, 2]}, "must increase, found 3.0 followed by 2.0"),
        ({"nodes": [1]}, "at least 2 nodes"),
        ({"nodes": [[1, 2]]}, "expected a list"),
        ({"nodes": [1, np.nan]}, "finite"),
        ({"nodes": [0, 1], "interp": "log"}, "must be positive"),
        ({"nodes": [-1, 1], "interp": "sqrt"}, "can't be negative"),
        ({"nodes": [0, 1], "interp": "cubic"}, "unknown scale 'cubic'"),
        ({"nodes": [0, 1], "node_type": "middle"}, "unknown node_type 'middle'"),
        ({"nodes": ["a", "b"]}, "expected numbers"),
        ({"nodes": [0, 1], "name": 3}, "expected a string"),
    ],
)
def test_bad_axis_is_named(arguments, message):
    with pytest.raises(DataError, match=message):
        MapAxis(**({"name": "x"} | arguments))


def test_bad_units_are_named():
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    with pytest.raises(UnitsError, match="expected a quantity in TeV, found deg"):
        axis.coord_to_idx(1 * u.deg)
    with pytest.raises(UnitsError, match="unknown unit"):
        MapAxis([1, 2], unit="parrot")
    with pytest.raises(UnitsError, match="unit of energy"):
        MapAxis.from_energy_edges([1, 2] * u.deg)
    with pytest.raises(UnitsError, match="unit of energy"):
        MapAxis.from_energy_bounds(1, 2, nbin=2)
    with pytest.raises(UnitsError, match="nodes have the unit"):
        MapAxis([1, 2] * u.deg, unit="TeV")


def test_bad_derived_axes_are_named():
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=3)
    with pytest.raises(DataError, match="groups of 2"):
        axis.downsample(2)
    with pytest.raises(DataError, match="whole factor"):
        axis.upsample(0)
    with pytest.raises(DataError, match="adjacent bins"):
        axis.slice(slice(None, None, 2))
    with pytest.raises(DataError, match="adjacent bins"):
        axis.slice(slice(3, 3))
    with pytest.raises(DataError, match="begins at"):
        axis.concatenate(axis)
    with pytest.raises(DataError, match="energy_min < energy_max"):
        MapAxis.from_energy_bounds("2 TeV", "1 TeV", nbin=3)


def test_bad_tables_are_named():
    with pytest.raises(FileFormatError, match="bin 0 ends at 2 and bin 1 begins at 3"):
        axis_from_bounds([1, 3], [2, 4], "TeV", "energy", "log", "file")
    with pytest.raises(FileFormatError, match=r"file: .*must be positive"):
        axis_from_bounds([0, 2], [2, 4], "TeV", "energy", "log", "file")
    table = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2).to_table()
    del table["E_MAX"]
    with pytest.raises(FileFormatError, match="no column E_MAX, found CHANNEL, E_MIN"):
        MapAxis.from_table(table)
    with pytest.raises(FileFormatError, match="AXCOLS1"):
        MapAxis.from_table(table, format="gadf")
    with pytest.raises(DataError, match="Unknown axis format"):
        MapAxis.from_table(table, format="csv")


class TestMapAxes:
    energy = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    offset = MapAxis.from_edges([0, 1, 2, 3], unit="deg", name="offset")
    axes = MapAxes([energy, offset])

    def test_access(self):
        assert self.axes["offset"] is self.offset
        assert self.axes[0] is self.energy
        assert self.axes[-1:].names == ["offset"]
        assert self.axes.shape == (2, 3)
        assert "energy" in self.axes
        assert "time" not in self.axes
        assert self.axes.index("offset") == 1
        assert len(self.axes + [self.energy.rename("energy_true")]) == 3

    def test_derived(self):
        assert self.axes.squash("offset").shape == (2, 1)
        assert self.axes.drop("offset").names == ["energy"]
        assert self.axes.rename_axes("energy", "energy_true").names == ["energy_true", "offset"]
        assert self.axes.slice_by_idx({"energy": 0, "offset": slice(1, 3)}).shape == (2,)
        assert MapAxes.from_default(None).names == []
        assert self.axes == MapAxes([self.energy.copy(), self.offset])

    def test_errors_are_named(self):
        with pytest.raises(DataError, match="Did you mean 'energy'"):
            self.axes["enrgy"]
        with pytest.raises(DataError, match="different names"):
            MapAxes([self.energy, self.energy])
        with pytest.raises(DataError, match="Expected a MapAxis"):
            MapAxes(["energy"])
        with pytest.raises(DataError, match="Expected axes"):
            self.axes.assert_names(["offset", "energy"])
