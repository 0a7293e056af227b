"""ARF and RMF files: real ones, round trips, every variant of the layout, and damage."""

import gzip
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from villard.exceptions import DataError, FileFormatError, OverwriteError, UnitsError, VillardError
from villard.irf import EDispKernel, arf_to_hdulist, read_arf, write_arf
from villard.irf.io import arf_from_hdulist
from villard.maps import MapAxis

TRUE = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=6, name="energy_true")
RECO = MapAxis.from_energy_bounds("0.2 TeV", "20 TeV", nbin=5)
KERNEL = EDispKernel.from_gauss(TRUE, RECO, sigma=0.2, pdf_threshold=1e-3)
AREA = np.linspace(1e8, 1e10, 6) * u.cm**2

# Two groups in a row, one without any, and one that reaches the last channel.
MATRIX = np.array(
    [
        [0.1, 0.2, 0.0, 0.3, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.5, 0.5],
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.2, 0.2, 0.2, 0.0],
        [0.2, 0.2, 0.2, 0.2, 0.2],
    ]
)
SPLIT = EDispKernel([TRUE, RECO], MATRIX)

RMF_FILES = [
    ("joint-crab/spectra/fact/rmf_stacked.fits", (80, 80), 52.998823711),
    ("joint-crab/spectra/fermi/rmf_obs0.fits", (36, 36), 35.743940965),
    ("joint-crab/spectra/hess/rmf_obs23523.fits", (80, 80), 59.984611298),
    ("joint-crab/spectra/magic/rmf_obs5029747.fits", (80, 80), 79.996047947),
    ("joint-crab/spectra/veritas/rmf_obs54809.fits", (80, 80), 64.858300516),
    ("datasets/simulations/simulated_spectrum_dataset_PL_rmf.fits", (20, 20), 20),
]


class TestRealFiles:
    @pytest.mark.parametrize(("name", "shape", "total"), RMF_FILES)
    def test_rmf(self, gammapy_data, name, shape, total):
        # Sums: the matrices as gammapy 2.1 reads them, which agree in every element.
        kernel = EDispKernel.read(gammapy_data / name)
        assert kernel.pdf_matrix.shape == shape
        assert_allclose(kernel.pdf_matrix.sum(), total, rtol=1e-9)

    def test_every_file_reads_and_arf_matches_rmf(self, gammapy_data):
        folders = [gammapy_data / "joint-crab/spectra", gammapy_data / "datasets/simulations"]
        files = [path for folder in folders for path in sorted(folder.rglob("*rmf*.fits"))]
        assert len(files) == 12
        for path in files:
            kernel = EDispKernel.read(path)
            axis, area = read_arf(path.with_name(path.name.replace("rmf", "arf")))
            assert axis == kernel.axes["energy_true"]
            assert area.max() > 1 * u.km**2 / 1e4

    def test_path_with_variable_and_gzip(self, gammapy_data, tmp_path):
        name = "joint-crab/spectra/hess/rmf_obs23523.fits"
        kernel = EDispKernel.read(f"$GAMMAPY_DATA/{name}")
        (tmp_path / "rmf.fits.gz").write_bytes(gzip.compress((gammapy_data / name).read_bytes()))
        assert EDispKernel.read(tmp_path / "rmf.fits.gz").is_allclose(kernel, rtol=0, atol=0)


class TestRoundTrip:
    @pytest.mark.parametrize("kernel", [KERNEL, SPLIT, EDispKernel.from_diagonal_response(TRUE)])
    @pytest.mark.parametrize("format", ["ogip", "ogip-sherpa"])
    @pytest.mark.parametrize("name", ["rmf.fits", "rmf.fits.gz"])
    def test_rmf(self, kernel, format, name, tmp_path):
        kernel.write(tmp_path / name, format=format, TELESCOP="HESS")
        read = EDispKernel.read(tmp_path / name)
        assert_array_equal(read.pdf_matrix, kernel.pdf_matrix)
        assert read.axes == kernel.axes
        assert read.axes["energy"].unit == ("keV" if format == "ogip-sherpa" else "TeV")
        assert read.meta["TELESCOP"] == "HESS"
        assert EDispKernel.from_hdulist(kernel.to_hdulist()).is_allclose(kernel)

    @pytest.mark.parametrize("format", ["ogip", "ogip-sherpa"])
    def test_arf(self, format, tmp_path):
        write_arf(tmp_path / "arf.fits", TRUE, AREA.to("m2"), format=format)
        axis, area = read_arf(tmp_path / "arf.fits")
        assert axis == TRUE
        assert_allclose(area.to_value("cm2"), AREA.value)
        assert area.unit == ("cm2" if format == "ogip-sherpa" else "m2")

    def test_headers(self):
        header = SPLIT.to_hdulist()["MATRIX"].header
        assert header["NUMGRP"] == 6
        assert header["NUMELT"] == np.count_nonzero(MATRIX)
        assert header["TLMIN4"] == 0
        assert header["DETCHANS"] == 5
        assert SPLIT.to_hdulist()["EBOUNDS"].header["HDUCLAS2"] == "EBOUNDS"
        assert arf_to_hdulist(TRUE, AREA)["SPECRESP"].header["HDUCLAS2"] == "SPECRESP"

    def test_existing_file_stays(self, tmp_path):
        KERNEL.write(tmp_path / "rmf.fits")
        with pytest.raises(OverwriteError):
            SPLIT.write(tmp_path / "rmf.fits")
        assert EDispKernel.read(tmp_path / "rmf.fits").is_allclose(KERNEL)

    @given(st.integers(0, 2**30), st.floats(0, 1))
    @settings(max_examples=20)
    def test_any_matrix(self, seed, fill):
        rng = np.random.default_rng(seed)
        matrix = rng.random((6, 5)) * (rng.random((6, 5)) < fill)
        kernel = EDispKernel([TRUE, RECO], matrix)
        assert_array_equal(EDispKernel.from_hdulist(kernel.to_hdulist()).pdf_matrix, matrix)

    def test_bad_input_is_named(self):
        with pytest.raises(UnitsError, match="unit like cm2, found"):
            arf_to_hdulist(TRUE, AREA.value * u.TeV)
        with pytest.raises(DataError, match="one area per bin"):
            arf_to_hdulist(TRUE, AREA[:3])
        with pytest.raises(DataError, match="an axis 'energy_true'"):
            arf_to_hdulist(TRUE.rename("energy"), AREA)
        with pytest.raises(DataError, match=r"found -1\.0 in bin 0"):
            arf_to_hdulist(TRUE, -np.ones(6) * u.cm**2)
        with pytest.raises(DataError, match="Unknown ARF format"):
            arf_to_hdulist(TRUE, AREA, format="csv")
        with pytest.raises(DataError, match="Unknown RMF format"):
            KERNEL.to_hdulist(format="csv")


def rmf(first=0, tlmin=True, layout="vector", unit="TeV", names=("MATRIX", "EBOUNDS"), channel=True):
    """Return SPLIT in another variant of the OGIP layout, made without the package's own writer."""
    n_grp, f_chan, n_chan, values = [], [], [], []
    for row in MATRIX:
        filled = np.flatnonzero(row)
        runs = np.split(filled, np.flatnonzero(np.diff(filled) > 1) + 1) if len(filled) else []
        n_grp.append(len(runs))
        f_chan.append([run[0] + first for run in runs])
        n_chan.append([len(run) for run in runs])
        values.append(row[filled])
    if layout == "scalar":
        # One group with the zeros between.
        n_grp = [1] * 6
        f_chan, n_chan, values = [[first]] * 6, [[5]] * 6, list(MATRIX)
    width = {"vector": 2, "scalar": 1}.get(layout, 2)
    if layout == "variable":
        f_column, n_column, m_column = (
            ("PI()", _objects(f_chan, "i2")),
            ("PI()", _objects(n_chan, "i2")),
            (
                "PE()",
                _objects(values, "f4"),
            ),
        )
    else:
        f_column = (f"{width}I", _padded(f_chan, width))
        n_column = (f"{width}I", _padded(n_chan, width))
        m_column = ("5E", _padded(values, 5))
    edges = {axis.name: axis.edges.to_value(unit or "keV") for axis in (TRUE, RECO)}
    matrix = fits.BinTableHDU.from_columns(
        [
            fits.Column("ENERG_LO", "D", unit=unit, array=edges["energy_true"][:-1]),
            fits.Column("ENERG_HI", "D", unit=unit, array=edges["energy_true"][1:]),
            fits.Column("N_GRP", "I", array=n_grp),
            fits.Column("F_CHAN", f_column[0], array=f_column[1]),
            fits.Column("N_CHAN", n_column[0], array=n_column[1]),
            fits.Column("MATRIX", m_column[0], array=m_column[1]),
        ],
        name=names[0],
    )
    matrix.header.update({"HDUCLAS1": "RESPONSE", "HDUCLAS2": "RSP_MATRIX"})
    if tlmin:
        matrix.header["TLMIN4"] = first
    bounds = [
        fits.Column("E_MIN", "E", unit=unit, array=edges["energy"][:-1]),
        fits.Column("E_MAX", "E", unit=unit, array=edges["energy"][1:]),
    ]
    if channel:
        bounds.insert(0, fits.Column("CHANNEL", "I", array=np.arange(5) + first))
    ebounds = fits.BinTableHDU.from_columns(bounds, name=names[1])
    ebounds.header["HDUCLAS2"] = "EBOUNDS"
    return fits.HDUList([fits.PrimaryHDU(), matrix, ebounds])


def _objects(rows, dtype):
    array = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        array[i] = np.array(row, dtype=dtype)
    return array


def _padded(rows, width):
    array = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array.squeeze()


class TestVariants:
    @pytest.mark.parametrize("layout", ["variable", "vector", "scalar"])
    @pytest.mark.parametrize("first", [0, 1, 7])
    def test_layout_and_first_channel(self, layout, first, tmp_path):
        rmf(first=first, layout=layout).writeto(tmp_path / "rmf.fits")
        kernel = EDispKernel.read(tmp_path / "rmf.fits")
        assert_allclose(kernel.pdf_matrix, MATRIX, rtol=1e-6)
        assert kernel.axes["energy"] == RECO

    def test_first_channel_without_tlmin(self):
        assert_allclose(EDispKernel.from_hdulist(rmf(first=4, tlmin=False)).pdf_matrix, MATRIX, rtol=1e-6)
        # The default of OGIP memo CAL/GEN/92-002a.
        kernel = EDispKernel.from_hdulist(rmf(first=1, tlmin=False, channel=False))
        assert_allclose(kernel.pdf_matrix, MATRIX, rtol=1e-6)

    @pytest.mark.parametrize("unit", ["keV", "TeV", "GeV", "KEV", None])
    def test_units(self, unit):
        known = {"KEV": "keV"}.get(unit, unit)
        hdulist = rmf(unit=known)
        if unit == "KEV":
            for hdu, index in ((1, 1), (1, 2), (2, 2), (2, 3)):
                hdulist[hdu].header[f"TUNIT{index}"] = unit
        kernel = EDispKernel.from_hdulist(hdulist)
        assert kernel.axes["energy"] == RECO
        assert kernel.axes["energy_true"] == TRUE
        assert kernel.axes["energy"].unit == (known or "keV")

    @pytest.mark.parametrize(
        "names", [("SPECRESP MATRIX", "EBOUNDS"), ("FIRST", "SECOND"), ("matrix", "ebounds")]
    )
    def test_extensions_are_found_by_class(self, names):
        assert EDispKernel.from_hdulist(rmf(names=names)).pdf_matrix.shape == (6, 5)

    def test_extensions_are_found_by_name(self):
        hdulist = rmf(names=("FIRST", "SECOND"))
        assert EDispKernel.from_hdulist(hdulist, hdu="FIRST", hdu_ebounds="SECOND").pdf_matrix.shape == (6, 5)
        with pytest.raises(
            FileFormatError, match="expected a table THIRD, found the extensions PRIMARY, FIRST"
        ):
            EDispKernel.from_hdulist(hdulist, hdu="THIRD")

    @pytest.mark.parametrize(
        ("unit", "factor"), [("cm2", 1), ("cm**2", 1), ("m^2", 1e4), ("m2 s h-1", 1e4 / 3600)]
    )
    def test_units_of_areas(self, unit, factor):
        hdulist = arf_to_hdulist(TRUE, AREA)
        hdulist[1].header["TUNIT3"] = unit
        _, area = arf_from_hdulist(hdulist)
        assert_allclose(area.to_value("cm2"), AREA.value * factor)

    def test_units_of_arf_that_are_absent(self):
        hdulist = arf_to_hdulist(TRUE, AREA, format="ogip-sherpa")
        for index in (1, 2, 3):
            del hdulist[1].header[f"TUNIT{index}"]
        axis, area = arf_from_hdulist(hdulist)
        assert axis == TRUE
        assert area.unit == "cm2"


def _set(hdu, key, value):
    def change(hdulist):
        hdulist[hdu].header[key] = value

    return change


def _unit(hdu, column, value):
    def change(hdulist):
        hdulist[hdu].columns.change_unit(column, value)

    return change


def _cell(hdu, column, row, value):
    def change(hdulist):
        hdulist[hdu].data[column][row] = value

    return change


def _drop_column(hdu, column):
    def change(hdulist):
        table = hdulist[hdu]
        columns = [item for item in table.columns if item.name != column]
        hdulist[hdu] = fits.BinTableHDU.from_columns(columns, header=None, name=table.name)

    return change


def _drop_hdu(hdu):
    def change(hdulist):
        del hdulist[hdu]

    return change


def _text_column(hdu, column):
    def change(hdulist):
        table = hdulist[hdu]
        columns = [
            fits.Column(column, "3A", array=["abc"] * len(table.data)) if item.name == column else item
            for item in table.columns
        ]
        hdulist[hdu] = fits.BinTableHDU.from_columns(columns, name=table.name)

    return change


def _no_rows(hdu):
    def change(hdulist):
        hdulist[hdu].data = hdulist[hdu].data[:0]

    return change


class TestDamage:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                _drop_hdu("MATRIX"),
                "expected a table MATRIX or SPECRESP MATRIX, found the extensions PRIMARY, EBOUNDS",
            ),
            (_drop_hdu("EBOUNDS"), "expected a table EBOUNDS, found"),
            (_drop_column("MATRIX", "F_CHAN"), "expected a column F_CHAN, found ENERG_LO"),
            (_drop_column("MATRIX", "MATRIX"), "expected a column MATRIX"),
            (_drop_column("EBOUNDS", "E_MAX"), "expected a column E_MAX, found CHANNEL, E_MIN"),
            (_text_column("MATRIX", "ENERG_LO"), "expected one number per row in column ENERG_LO"),
            (_text_column("MATRIX", "MATRIX"), "expected numbers, found"),
            (_text_column("MATRIX", "N_CHAN"), "expected integers, found"),
            (_no_rows("EBOUNDS"), "the table has no rows"),
            (_unit("MATRIX", "ENERG_LO", "parrot"), "column ENERG_LO: unknown unit 'parrot'"),
            (_unit("MATRIX", "ENERG_LO", "m"), "expected a unit like keV, found 'm'"),
            (_set("MATRIX", "TLMIN4", "one"), "expected an integer as TLMIN4, found 'one'"),
            (_set("MATRIX", "TLMIN4", 1), "row 0: expected channels from 1 to 5, found F_CHAN=.0, 3."),
            (_cell("MATRIX", "N_GRP", 0, -1), "row 0: expected a number of groups as N_GRP, found -1"),
            (
                _cell("MATRIX", "N_GRP", 2, 3),
                "row 2, column F_CHAN: expected one number for each of 3 groups",
            ),
            (
                _cell("MATRIX", "N_CHAN", (0, 0), 6),
                r"row 0: N_CHAN asks for \[6, 1\] values, but column MATRIX has 5",
            ),
            (_cell("MATRIX", "F_CHAN", (0, 1), 1), "two groups hold the channel 1"),
            (_cell("MATRIX", "MATRIX", (0, 1), np.nan), "found nan at energy bin 0, channel 1"),
            (_cell("MATRIX", "MATRIX", (0, 1), -0.5), "found -0.5 at energy bin 0, channel 1"),
            (_cell("MATRIX", "ENERG_LO", 0, 0), "must be positive"),
            (_cell("MATRIX", "ENERG_LO", 2, 0.001), "bins must be adjacent"),
            (_cell("EBOUNDS", "E_MAX", 4, np.inf), "must be finite"),
        ],
    )
    def test_rmf(self, change, message, tmp_path):
        hdulist = rmf()
        change(hdulist)
        hdulist.writeto(tmp_path / "damaged.fits")
        with pytest.raises(DataError, match=rf"damaged\.fits.*{message}"):
            EDispKernel.read(tmp_path / "damaged.fits")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (_drop_hdu("SPECRESP"), "expected a table SPECRESP, found the extensions PRIMARY"),
            (_drop_column("SPECRESP", "SPECRESP"), "expected a column SPECRESP"),
            (_text_column("SPECRESP", "SPECRESP"), "expected one number per row"),
            (_unit("SPECRESP", "SPECRESP", "TeV"), "expected a unit like cm2, found 'TeV'"),
            (_cell("SPECRESP", "SPECRESP", 3, np.nan), "found nan in bin 3"),
            (_cell("SPECRESP", "SPECRESP", 3, -1), "found -1.0 in bin 3"),
            (_cell("SPECRESP", "ENERG_HI", 3, -1), "bins must be adjacent"),
            (_cell("SPECRESP", "ENERG_LO", 0, 0), "must be positive"),
        ],
    )
    def test_arf(self, change, message, tmp_path):
        hdulist = arf_to_hdulist(TRUE, AREA)
        change(hdulist)
        hdulist.writeto(tmp_path / "damaged.fits")
        with pytest.raises(DataError, match=rf"damaged\.fits.*{message}"):
            read_arf(tmp_path / "damaged.fits")

    def test_missing_file(self, tmp_path):
        for read in (EDispKernel.read, read_arf):
            with pytest.raises(DataError, match=r"File not found: .*none\.fits"):
                read(tmp_path / "none.fits")
            with pytest.raises(DataError, match="VILLARD_NOT_SET, which is not set"):
                read("$VILLARD_NOT_SET/none.fits")

    def test_folder_and_empty_file(self, tmp_path):
        (tmp_path / "empty.fits").touch()
        with pytest.raises(FileFormatError, match=r"empty\.fits"):
            read_arf(tmp_path / "empty.fits")
        with pytest.raises(DataError, match="File not found"):
            read_arf(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    rmf(layout="variable").writeto(folder / "rmf.fits")
    write_arf(folder / "arf.fits", TRUE, AREA)
    return {name: (folder / f"{name}.fits").read_bytes() for name in ("rmf", "arf")}


def _reads_or_names(path, kind):
    """A damaged file must read, or give a named error that has the file in it."""
    with warnings.catch_warnings():
        # What astropy warns of is beside the point here.
        warnings.simplefilter("ignore")
        try:
            EDispKernel.read(path) if kind == "rmf" else read_arf(path)
        except VillardError as error:
            message = str(error)
        else:
            message = path.name
    assert path.name in message


# The folder of the test is made once, and every example writes the file anew.
FUZZ = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


class TestFuzz:
    @pytest.mark.parametrize("kind", ["rmf", "arf"])
    def test_truncated_files(self, kind, whole, tmp_path):
        data = whole[kind]
        path = tmp_path / "cut.fits"
        for length in [*range(0, len(data), 997), len(data) - 2880, len(data) - 2881]:
            path.write_bytes(data[:length])
            with pytest.raises(FileFormatError, match=r"cut\.fits"):
                EDispKernel.read(path) if kind == "rmf" else read_arf(path)

    @pytest.mark.parametrize("kind", ["rmf", "arf"])
    @given(data=st.data())
    @FUZZ
    def test_changed_bytes(self, kind, data, whole, tmp_path):
        content = bytearray(whole[kind])
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path / "bytes.fits"
        path.write_bytes(bytes(content))
        _reads_or_names(path, kind)

    @pytest.mark.parametrize("kind", ["rmf", "arf"])
    @given(data=st.data())
    @FUZZ
    def test_changed_header_values(self, kind, data, whole, tmp_path):
        content = bytearray(whole[kind])
        cards = [i for i in range(0, len(content), 80) if content[i + 8 : i + 10] == b"= "]
        for _ in range(data.draw(st.integers(1, 3))):
            card = data.draw(st.sampled_from(cards))
            value = data.draw(
                st.one_of(
                    st.integers(-10, 1000).map(str),
                    st.sampled_from(
                        ["T", "F", "1E400", "NaN", "", "''", "'PE(5)'", "'1A'", "'PI()'", "'J'", "'keV'"]
                    ),
                    st.text("ABDEIJKLMPQX()1234567890'", max_size=10),
                )
            )
            content[card + 10 : card + 80] = value.ljust(70).encode()[:70]
        path = tmp_path / "header.fits"
        path.write_bytes(bytes(content))
        _reads_or_names(path, kind)

    @given(data=st.data())
    @FUZZ
    def test_changed_lengths(self, data, tmp_path):
        integers = st.integers(-3, 12)
        hdulist = rmf(layout=data.draw(st.sampled_from(["vector", "variable"])), first=data.draw(integers))
        table = hdulist["MATRIX"].data
        for column in ("N_GRP", "F_CHAN", "N_CHAN"):
            cell = data.draw(st.integers(0, 5))
            size = np.size(table[column][cell])
            table[column][cell] = (
                data.draw(integers) if column == "N_GRP" else np.full(size, data.draw(integers))
            )
        if data.draw(st.booleans()):
            hdulist["EBOUNDS"].data = hdulist["EBOUNDS"].data[: data.draw(st.integers(0, 5))]
        hdulist["MATRIX"].header["TLMIN4"] = data.draw(integers)
        path = tmp_path / "lengths.fits"
        hdulist.writeto(path, overwrite=True)
        _reads_or_names(path, "rmf")
