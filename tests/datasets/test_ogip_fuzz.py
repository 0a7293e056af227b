"""Whatever a file holds, reading it ends with a dataset or an exception of villard."""

import numpy as np
import pytest
from astropy.io import fits
from dataset_toys import onoff_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from villard.datasets import SpectrumDatasetOnOff
from villard.exceptions import VillardError

# What astropy thinks of damaged headers is not the subject here.
pytestmark = pytest.mark.filterwarnings("ignore")

FILES = ("pha", "bkg", "arf", "rmf")
KEYWORDS = [
    *("EXPOSURE", "BACKSCAL", "AREASCAL", "QUALITY", "GROUPING", "POISSERR", "DETCHANS", "OBS_ID"),
    *("BACKFILE", "RESPFILE", "ANCRFILE", "HDUCLAS1", "HDUCLAS2", "HDUCLAS3", "HDUCLAS4", "EXTNAME"),
    *("TLMIN1", "TLMIN4", "TUNIT1", "TUNIT2", "TUNIT3", "TELESCOP", "OBJECT", "MJDREFI", "TIMESYS"),
]
STRUCTURE = (
    "NAXIS1",
    "NAXIS2",
    "PCOUNT",
    "TFIELDS",
    "TFORM1",
    "TFORM2",
    "TFORM4",
    "TFORM6",
    "TTYPE2",
    "BITPIX",
    "NAXIS",
)

values = st.one_of(
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    st.sampled_from(
        [
            "",
            "NONE",
            "keV",
            "TeV",
            "cm**2",
            "bogus",
            "pha_toy.fits",
            "rmf_toy.fits",
            "../x",
            "$HOME",
            "$NO_VAR",
        ]
    ),
)


class Originals:
    """Good files, to be restored before each example."""

    def __init__(self, folder):
        self.folder = folder
        onoff_dataset().write(folder / "pha_toy.fits")
        self.contents = {name: self.path(name).read_bytes() for name in FILES}

    def path(self, name):
        return self.folder / f"{name}_toy.fits"

    def restore(self):
        for name, content in self.contents.items():
            self.path(name).write_bytes(content)

    def read(self):
        """Read the dataset and use it; only exceptions of villard may come out."""
        try:
            dataset = SpectrumDatasetOnOff.read(self.path("pha"))
            dataset.stat_sum()
        except VillardError:
            return
        assert np.all(dataset.counts.data >= 0)
        assert np.all(np.isfinite(dataset.exposure.data))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return Originals(tmp_path_factory.mktemp("fuzz"))


fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(st.sampled_from(FILES), st.lists(st.tuples(st.sampled_from(KEYWORDS), values), min_size=1, max_size=4))
def test_any_keywords(originals, name, changes):
    originals.restore()
    path = originals.path(name)
    with fits.open(path, mode="update", memmap=False, output_verify="ignore") as hdulist:
        for key, value in changes:
            hdulist[1].header[key] = value
    originals.read()


@fuzz
@given(
    st.sampled_from(FILES), st.sampled_from(KEYWORDS), st.binary(min_size=70, max_size=70), st.integers(0, 2)
)
def test_any_card(originals, name, key, content, position):
    """Cards that astropy itself wouldn't write."""
    originals.restore()
    path = originals.path(name)
    data = path.read_bytes()
    at = data.find(key.ljust(8).encode(), 2880)
    if at < 0:
        return
    path.write_bytes(data[: at + 10 - position] + content[: 70 + position] + data[at + 80 :])
    originals.read()


@fuzz
@given(
    st.sampled_from(FILES),
    st.sampled_from(STRUCTURE),
    st.one_of(st.integers(-3, 200), st.sampled_from(["J", "9D", "PJ(3)", "X"])),
)
def test_any_structure(originals, name, key, value):
    originals.restore()
    path = originals.path(name)
    data = path.read_bytes()
    at = data.find(key.ljust(8).encode(), 2880)
    if at < 0:
        return
    text = f"'{value}'" if isinstance(value, str) else f"{value:>20}"
    path.write_bytes(data[: at + 10] + text.ljust(70).encode() + data[at + 80 :])
    originals.read()


@fuzz
@given(st.sampled_from(FILES), st.floats(0, 1), st.binary(max_size=64))
def test_any_length_and_bytes(originals, name, fraction, content):
    originals.restore()
    path = originals.path(name)
    data = path.read_bytes()
    at = int(fraction * len(data))
    path.write_bytes(data[:at])
    originals.read()
    path.write_bytes(data[:at] + content + data[at + len(content) :])
    originals.read()


@fuzz
@given(
    st.sampled_from(["COUNTS", "QUALITY", "BACKSCAL", "GROUPING", "AREASCAL", "CHANNEL"]),
    st.lists(st.floats() | st.integers(-5, 5), min_size=4, max_size=4),
    st.sampled_from(["pha", "bkg"]),
)
def test_any_columns(originals, column, content, name):
    originals.restore()
    path = originals.path(name)
    with fits.open(path, memmap=False) as hdulist:
        table = hdulist["SPECTRUM"]
        columns = [c for c in table.columns if c.name != column]
        columns.append(fits.Column(column, "D", array=np.array(content, dtype=float)))
        new = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
        for key in ("EXPOSURE", "BACKFILE", "ANCRFILE", "RESPFILE", "AREASCAL"):
            new.header[key] = table.header[key]
        fits.HDUList([fits.PrimaryHDU(), new, hdulist["EBOUNDS"].copy()]).writeto(path, overwrite=True)
    originals.read()


@fuzz
@given(st.integers(0, 8), st.integers(1, 8))
def test_any_number_of_channels(originals, n_background, n_bounds):
    originals.restore()
    for name, hdu, n in [("bkg", "SPECTRUM", n_background), ("rmf", "EBOUNDS", n_bounds)]:
        path = originals.path(name)
        with fits.open(path, memmap=False) as hdulist:
            table = hdulist[hdu]
            rows = np.resize(table.data, n) if n else table.data[:0]
            others = [h for h in hdulist if h.name != hdu]
            changed = fits.HDUList([*others, fits.BinTableHDU(rows, header=table.header, name=hdu)])
            changed.writeto(originals.folder / "new.fits", overwrite=True)
        (originals.folder / "new.fits").replace(path)
    originals.read()
