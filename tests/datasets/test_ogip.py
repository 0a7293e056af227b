"""OGIP files: conventions, and what is said about files that break them."""

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits
from dataset_toys import AXIS, as_map, edisp, exposure, onoff_dataset, power_law, write_toy
from numpy.testing import assert_allclose

from villard.data.gti import GTI
from villard.datasets import SpectrumDatasetOnOff
from villard.exceptions import DataError, FileFormatError, OverwriteError, VillardError


@pytest.fixture
def pha(tmp_path):
    return write_toy(tmp_path)


def edit(path, change, hdu="SPECTRUM"):
    with fits.open(path, mode="update", memmap=False) as hdulist:
        change(hdulist[hdu])


def keywords(path, hdu="SPECTRUM", **values):
    def change(table):
        for key, value in values.items():
            if value is None:
                del table.header[key]
            else:
                table.header[key] = value

    edit(path, change, hdu)


def set_column(path, name, values, format="D", hdu="SPECTRUM", unit=None):
    """Replace, add or (with `None`) remove a column."""
    with fits.open(path, memmap=False) as hdulist:
        hdus = [hdulist[0].copy()]
        for table in hdulist[1:]:
            if table.name == hdu:
                columns = [c for c in table.columns if c.name != name]
                if values is not None:
                    columns.append(fits.Column(name, format, array=np.asarray(values), unit=unit))
                new = fits.BinTableHDU.from_columns(columns, name=hdu)
                skip = ("TTYPE", "TFORM", "TUNIT", "TLMIN", "TLMAX", "TDIM", "NAXIS", "TFIELDS", "XTENSION")
                for card in table.header.cards:
                    if not card.keyword.startswith(skip) and card.keyword not in new.header:
                        new.header.append(card)
                hdus.append(new)
            else:
                hdus.append(table.copy())
        result = fits.HDUList(hdus)
    result.writeto(path, overwrite=True)


def read(path, **kwargs):
    dataset = SpectrumDatasetOnOff.read(path, **kwargs)
    dataset.models = power_law()
    return dataset


# Conventions


def test_round_trip(pha):
    dataset, expected = read(pha), onoff_dataset(models=power_law())
    assert dataset.name == "toy"
    for name in ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe", "exposure"):
        assert_allclose(getattr(dataset, name).data, getattr(expected, name).data, rtol=1e-14)
    assert_allclose(dataset.edisp.pdf_matrix, expected.edisp.pdf_matrix, rtol=1e-15)
    assert_allclose(dataset.stat_sum(), expected.stat_sum(), rtol=1e-13)
    assert dataset.livetime == expected.livetime


def test_four_files_are_written(pha):
    assert sorted(p.name for p in pha.parent.iterdir()) == [
        "arf_toy.fits",
        "bkg_toy.fits",
        "pha_toy.fits",
        "rmf_toy.fits",
    ]
    header = fits.getheader(pha, "SPECTRUM")
    assert [header[key] for key in ("BACKFILE", "ANCRFILE", "RESPFILE")] == [
        "bkg_toy.fits",
        "arf_toy.fits",
        "rmf_toy.fits",
    ]


def test_gzipped_and_by_variable(pha, monkeypatch):
    expected = read(pha).stat_sum()
    for path in list(pha.parent.iterdir()):
        with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as zipped:
            shutil.copyfileobj(plain, zipped)
        path.unlink()
    monkeypatch.setenv("VILLARD_TEST_FOLDER", str(pha.parent))
    # The keywords still name the plain files.
    for name in ("$VILLARD_TEST_FOLDER/pha_toy.fits", "${VILLARD_TEST_FOLDER}/pha_toy.fits.gz"):
        assert_allclose(read(name).stat_sum(), expected)


def test_written_gzipped(tmp_path):
    dataset = onoff_dataset()
    dataset.write(tmp_path / "crab.fits.gz")
    assert (tmp_path / "crab_rmf.fits.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert_allclose(SpectrumDatasetOnOff.read(tmp_path / "crab.fits.gz").stat_sum(), dataset.stat_sum())
    # The name without .gz finds it as well.
    SpectrumDatasetOnOff.read(tmp_path / "crab.fits")


def test_linked_files_may_have_variables_and_absolute_paths(pha, tmp_path, monkeypatch):
    (tmp_path / "irf").mkdir()
    shutil.move(tmp_path / "arf_toy.fits", tmp_path / "irf" / "arf.fits")
    shutil.move(tmp_path / "rmf_toy.fits", tmp_path / "irf" / "rmf.fits")
    monkeypatch.setenv("VILLARD_TEST_IRF", str(tmp_path / "irf"))
    keywords(pha, ANCRFILE="$VILLARD_TEST_IRF/arf.fits", RESPFILE="irf/rmf.fits")
    assert_allclose(read(pha).stat_sum(), onoff_dataset(models=power_law()).stat_sum())


@pytest.mark.parametrize("format", ["ogip", "ogip-sherpa"])
def test_units_of_the_files(tmp_path, format):
    kwargs = {
        "exposure": as_map(exposure().data * 1e-4, exposure().geom.axes[0], unit="m2 s", meta=exposure().meta)
    }
    dataset = onoff_dataset(models=power_law(), **kwargs)
    dataset.write(tmp_path / "pha_x.fits", format=format)
    arf = fits.getheader(tmp_path / "arf_x.fits", "SPECRESP")
    ebounds = fits.getheader(tmp_path / "pha_x.fits", "EBOUNDS")
    expected = ("cm2", "keV") if format == "ogip-sherpa" else ("m2", "TeV")
    assert (arf["TUNIT3"], ebounds["TUNIT2"]) == expected
    assert_allclose(read(tmp_path / "pha_x.fits").stat_sum(), dataset.stat_sum(), rtol=1e-12)


def test_quality_says_which_bins_are_safe(pha):
    set_column(pha, "QUALITY", [0, 5, 0, 1], "I")
    assert read(pha).mask_safe.data.ravel().tolist() == [True, False, True, False]
    set_column(pha.with_name("bkg_toy.fits"), "QUALITY", [2, 0, 0, 0], "I")
    assert read(pha).mask_safe.data.ravel().tolist() == [False, False, True, False]
    for path in (pha, pha.with_name("bkg_toy.fits")):
        set_column(path, "QUALITY", None)
    assert read(pha).mask_safe.data.all()
    keywords(pha, QUALITY=5)
    assert not read(pha).mask_safe.data.any()


def test_backscal_as_column_or_keyword(pha):
    expected = read(pha)
    for name, value in [("pha_toy.fits", 1.0), ("bkg_toy.fits", 5.0)]:
        set_column(pha.with_name(name), "BACKSCAL", None)
        keywords(pha.with_name(name), BACKSCAL=value)
    assert_allclose(read(pha).alpha.data, expected.alpha.data)
    set_column(pha, "BACKSCAL", [1.0, 2, 3, 4])
    assert_allclose(read(pha).alpha.data.ravel(), [0.2, 0.4, 0.6, 0.8])


def test_exposure_and_area_of_the_background_count(pha):
    # OGIP/92-007: background scales with BACKSCAL, EXPOSURE and AREASCAL of both spectra.
    background = pha.with_name("bkg_toy.fits")
    keywords(background, EXPOSURE=400.0)
    assert_allclose(read(pha).alpha.data, 0.2 / 4)
    keywords(background, AREASCAL=0.5)
    assert_allclose(read(pha).alpha.data, 0.2 / 2)
    keywords(pha, AREASCAL=0.8)
    assert_allclose(read(pha).alpha.data, 0.2 / 2 * 0.8)


def test_areascal_scales_the_predicted_counts(pha):
    expected = read(pha).npred_signal().data.ravel()
    keywords(pha, AREASCAL=0.8)
    assert_allclose(read(pha).npred_signal().data.ravel(), 0.8 * expected)
    keywords(pha, AREASCAL=None)
    scale = np.array([1.0, 0.9, 0.5, 0.1])
    set_column(pha, "AREASCAL", scale)
    assert_allclose(read(pha).npred_signal().data.ravel(), scale * expected)


def test_grouping_joins_channels(pha):
    plain = read(pha)
    set_column(pha, "GROUPING", [1, -1, 1, 0], "I")
    grouped = read(pha)
    assert_allclose(grouped.counts.geom.axes["energy"].edges.value, AXIS.edges.value[[0, 2, 3, 4]])
    for name in ("counts", "counts_off", "background"):
        values = getattr(plain, name).data.ravel()
        assert_allclose(getattr(grouped, name).data.ravel(), [values[0] + values[1], values[2], values[3]])
    npred = plain.npred_signal().data.ravel()
    assert_allclose(grouped.npred_signal().data.ravel(), [npred[0] + npred[1], npred[2], npred[3]])
    assert grouped.name == "toy"
    assert_allclose(read(pha, grouping=False).stat_sum(), plain.stat_sum())


def test_bad_channels_dont_count_in_their_group(pha):
    set_column(pha, "GROUPING", [1, -1, -1, 1], "I")
    set_column(pha, "QUALITY", [0, 2, 0, 2], "I")
    plain, grouped = read(pha, grouping=False), read(pha)
    assert grouped.counts.data.ravel().tolist() == [7, 0]
    assert grouped.mask_safe.data.ravel().tolist() == [True, False]
    npred = plain.npred_signal().data.ravel()
    assert_allclose(grouped.npred_signal().data.ravel()[0], npred[0] + npred[2])


def test_rates_times_exposure(pha):
    expected = read(pha).stat_sum()
    set_column(pha, "COUNTS", None)
    set_column(pha, "RATE", np.array([5, 3, 2, 1]) / 100, "E", unit="count/s")
    assert_allclose(read(pha).stat_sum(), expected)
    set_column(pha, "RATE", [0.052, 0.03, 0.02, 0.01], "E")
    with pytest.raises(DataError, match=r"pha_toy.fits.*RATE times EXPOSURE doesn't give whole counts"):
        read(pha)


def test_whole_counts_are_poisson_whatever_poisserr_says(pha):
    keywords(pha, POISSERR=False)
    assert read(pha).counts.data.sum() == 11


def test_a_matrix_may_hold_the_effective_area(pha):
    expected = read(pha).npred_signal().data
    area = exposure().data.ravel() / 100
    full = onoff_dataset().edisp.copy(data=edisp().pdf_matrix * area[:, np.newaxis])
    full.write(pha.with_name("rmf_toy.fits"), overwrite=True, HDUCLAS3="FULL")
    keywords(pha, ANCRFILE="NONE")
    assert_allclose(read(pha).npred_signal().data, expected, rtol=1e-12)
    # Otherwise the effective area is needed.
    edisp().write(pha.with_name("rmf_toy.fits"), overwrite=True)
    with pytest.raises(
        DataError, match=r"pha_toy.fits: expected the name of the effective area as ANCRFILE, found 'NONE'"
    ):
        read(pha)


def test_ebounds_may_be_in_the_matrix_alone(pha):
    expected = read(pha).stat_sum()
    with fits.open(pha, memmap=False) as hdulist:
        fits.HDUList([hdulist[0], hdulist["SPECTRUM"]]).writeto(pha.with_name("pha_bare.fits"))
    assert_allclose(read(pha.with_name("pha_bare.fits")).stat_sum(), expected)


def test_spectrum_found_by_its_class(pha):
    with fits.open(pha, mode="update", memmap=False) as hdulist:
        hdulist["SPECTRUM"].name = "EVENTS-SUM"
    assert read(pha, format="ogip").counts.data.sum() == 11


def test_good_times_and_region(tmp_path):
    gti = GTI([0, 100], [50, 200])
    dataset = onoff_dataset(gti=gti, meta={"TELESCOP": "HESS", "OBJECT": "Crab"})
    dataset.write(tmp_path / "pha_x.fits")
    copy = SpectrumDatasetOnOff.read(tmp_path / "pha_x.fits")
    assert copy.gti.met_stop.value.tolist() == [50, 200]
    assert (copy.gti.time_ref - gti.time_ref).to_value("s") == 0
    assert copy.meta["TELESCOP"] == "HESS"
    assert copy.meta["OBJECT"] == "Crab"
    assert copy.info_dict()["ontime"].value == 150


def test_name_without_obs_id(pha):
    keywords(pha, OBS_ID=None)
    assert read(pha).name == "pha_toy"


# Writing


def test_nothing_is_overwritten_or_half_written(tmp_path):
    (tmp_path / "rmf_x.fits").write_text("mine")
    with pytest.raises(OverwriteError, match=r"rmf_x.fits"):
        onoff_dataset().write(tmp_path / "pha_x.fits")
    assert [p.name for p in tmp_path.iterdir()] == ["rmf_x.fits"]
    onoff_dataset().write(tmp_path / "pha_x.fits", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"counts": [1.5, 1, 1, 1]},
            "OGIP files hold whole counts, found counts of 1.5 in bin 0. Use format='gadf'",
        ),
        ({"counts_off": [1, 1, 0.1, 1]}, "found counts_off of 0.1 in bin 2"),
        ({"counts": [1e12, 1, 1, 1]}, "found counts of 1000000000000.0"),
        ({"exposure": as_map(exposure().data, exposure().geom.axes[0], unit="cm2 s")}, "need the livetime"),
        ({"acceptance": None}, "acceptance is needed here"),
        ({"name": "Größe"}, "plain"),
    ],
)
def test_what_cant_be_written_is_named(tmp_path, kwargs, message):
    with pytest.raises(DataError, match=message):
        onoff_dataset(**kwargs).write(tmp_path / "pha_x.fits")
    assert not list(tmp_path.iterdir())


def test_unknown_formats(tmp_path, pha):
    with pytest.raises(DataError, match="Unknown format 'xspec'"):
        onoff_dataset().write(tmp_path / "pha_x.fits", format="xspec")
    with pytest.raises(DataError, match="Unknown format 'xspec'"):
        SpectrumDatasetOnOff.read(pha, format="xspec")


def test_without_energy_dispersion_a_diagonal_is_written(tmp_path):
    axis_true = AXIS.copy(name="energy_true")
    dataset = onoff_dataset(edisp=None, exposure=exposure(axis=axis_true), models=power_law())
    dataset.write(tmp_path / "pha_x.fits")
    assert_allclose(read(tmp_path / "pha_x.fits").stat_sum(), dataset.stat_sum(), rtol=1e-12)


# Bad input


@pytest.mark.parametrize(("keyword", "file"), [("BACKFILE", "bkg"), ("ANCRFILE", "arf"), ("RESPFILE", "rmf")])
def test_missing_files_are_named(pha, keyword, file):
    path = pha.with_name(f"{file}_toy.fits")
    path.unlink()
    with pytest.raises(
        DataError, match=rf"pha_toy.fits: keyword {keyword} names '{file}_toy.fits', but there is no file"
    ):
        read(pha)
    keywords(pha, **{keyword: None})
    with pytest.raises(
        DataError, match=rf"pha_toy.fits: expected the name .* as {keyword}, found 'no such keyword'"
    ):
        read(pha)


def test_missing_pha_file(tmp_path):
    with pytest.raises(DataError, match=r"File not found: .*nothing.fits"):
        SpectrumDatasetOnOff.read(tmp_path / "nothing.fits")
    with pytest.raises(DataError, match="environment variable VILLARD_NO_SUCH_VARIABLE"):
        SpectrumDatasetOnOff.read("$VILLARD_NO_SUCH_VARIABLE/pha.fits")


def test_responses_that_dont_fit(pha, tmp_path):
    from villard.irf import EDispKernel
    from villard.maps import MapAxis

    true, reco = edisp().axes
    other_true = MapAxis.from_energy_bounds("0.5 TeV", "30 TeV", nbin=6, name="energy_true")
    EDispKernel.from_gauss(other_true, reco, 0.2).write(tmp_path / "rmf_toy.fits", overwrite=True)
    with pytest.raises(
        DataError, match=r"rmf_toy.fits: its true energies are .*, but those of .*arf_toy.fits are"
    ):
        read(pha)
    more = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=5)
    EDispKernel.from_gauss(true, more, 0.2).write(tmp_path / "rmf_toy.fits", overwrite=True)
    with pytest.raises(DataError, match=r"rmf_toy.fits: expected 4 channels as in .*pha_toy.fits, found 5"):
        read(pha)
    shifted = MapAxis.from_energy_bounds("1 TeV", "11 TeV", nbin=4)
    EDispKernel.from_gauss(true, shifted, 0.2).write(tmp_path / "rmf_toy.fits", overwrite=True)
    with pytest.raises(
        DataError, match=r"rmf_toy.fits: its channels are .*, but those of .*pha_toy.fits are"
    ):
        read(pha)


def test_background_of_another_length(pha, tmp_path):
    onoff_dataset().slice_by_idx({"energy": slice(0, 3)}, name="x").write(tmp_path / "pha_x.fits")
    keywords(pha, BACKFILE="bkg_x.fits")
    with pytest.raises(DataError, match=r"bkg_x.fits: expected 4 channels as in .*pha_toy.fits, found 3"):
        read(pha)


@pytest.mark.parametrize(
    ("name", "values", "format", "message"),
    [
        (
            "COUNTS",
            [5, -3, 2, 1],
            "J",
            "column COUNTS: expected whole counts that aren't negative, found -3.0 in row 1",
        ),
        ("COUNTS", [5, 3, 2.5, 1], "D", "found 2.5 in row 2"),
        ("COUNTS", [5, np.nan, 2, 1], "D", "found nan in row 1"),
        ("COUNTS", ["a", "b", "c", "d"], "1A", "expected one number per row in column COUNTS"),
        ("COUNTS", np.ones((4, 2)), "2D", "expected one number per row in column COUNTS"),
        ("COUNTS", None, "", "expected a column COUNTS, found"),
        ("QUALITY", np.zeros((4, 3)), "3I", "expected one number per row in column QUALITY"),
        ("BACKSCAL", None, "", "expected a column or keyword BACKSCAL, found neither"),
        ("BACKSCAL", [1, -1, 1, 1], "D", "expected BACKSCAL of at least 0, found -1.0 in row 1"),
        ("BACKSCAL", [1, np.nan, 1, 1], "D", "expected BACKSCAL of at least 0, found nan in row 1"),
        ("CHANNEL", [0, 1, 3, 4], "I", "expected adjacent channels in column CHANNEL"),
        ("GROUPING", [-1, 1, 1, 1], "I", "expected a column GROUPING of -1, 0 or 1 that begins a group"),
        ("GROUPING", [1, -1, 7, 1], "I", "expected a column GROUPING"),
        ("GROUPING", [1, 1, 7, 1], "I", "expected GROUPING of -1, 0 or 1"),
    ],
)
def test_bad_columns_are_named(pha, name, values, format, message):
    set_column(pha, name, values, format)
    with pytest.raises(DataError, match=rf"pha_toy.fits, extension SPECTRUM.*{message}"):
        read(pha)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"EXPOSURE": 0.0}, "expected a positive EXPOSURE, found 0"),
        ({"EXPOSURE": -5.0}, "expected a positive EXPOSURE, found -5"),
        ({"EXPOSURE": "long"}, "expected a number as keyword EXPOSURE, found 'long'"),
        ({"EXPOSURE": None}, "expected a number as keyword EXPOSURE, found no such keyword"),
        ({"HDUCLAS2": "NET"}, "expected counts with their background"),
        ({"AREASCAL": "AREASCAL"}, "expected a number as keyword AREASCAL"),
        ({"EXPOSURE": True}, "expected a number as keyword EXPOSURE"),
    ],
)
def test_bad_keywords_are_named(pha, values, message):
    keywords(pha, **values)
    with pytest.raises(DataError, match=rf"pha_toy.fits.*{message}"):
        read(pha)


def test_bad_responses_are_named(pha, tmp_path):
    area = exposure().data.ravel() / 100
    for value, message in [(np.nan, "found nan in bin 2"), (-1.0, "found -1.0 in bin 2")]:
        bad = area.copy()
        bad[2] = value
        set_column(tmp_path / "arf_toy.fits", "SPECRESP", bad, hdu="SPECRESP", unit="cm2")
        with pytest.raises(DataError, match=rf"arf_toy.fits.*{message}"):
            read(pha)
    set_column(tmp_path / "arf_toy.fits", "SPECRESP", area, hdu="SPECRESP", unit="furlong2")
    with pytest.raises(FileFormatError, match=r"arf_toy.fits.*unknown unit 'furlong2'"):
        read(pha)
    set_column(tmp_path / "arf_toy.fits", "SPECRESP", area, hdu="SPECRESP", unit="s")
    with pytest.raises(FileFormatError, match=r"arf_toy.fits.*expected a unit like cm2, found 's'"):
        read(pha)


def test_not_a_spectrum(tmp_path):
    path = tmp_path / "image.fits"
    fits.HDUList([fits.PrimaryHDU(np.zeros((2, 2)))]).writeto(path)
    with pytest.raises(FileFormatError, match=r"image.fits: expected a table SPECTRUM"):
        SpectrumDatasetOnOff.read(path)
    path.write_text("not FITS")
    with pytest.raises(FileFormatError, match=r"image.fits: expected a FITS file"):
        SpectrumDatasetOnOff.read(path)


@pytest.mark.parametrize("name", ["pha", "bkg", "arf", "rmf"])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_truncated_files_are_named(pha, name, fraction):
    path = pha.with_name(f"{name}_toy.fits")
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(VillardError, match=rf"{name}_toy.fits"):
        read(pha)


def test_channels_of_ebounds(pha):
    expected = AXIS.edges.value
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(3)),
        fits.Column("E_MIN", "D", array=expected[:3], unit="TeV"),
        fits.Column("E_MAX", "D", array=expected[1:4], unit="TeV"),
    ]
    with fits.open(pha, mode="update", memmap=False) as hdulist:
        hdulist["EBOUNDS"] = fits.BinTableHDU.from_columns(columns, name="EBOUNDS")
    with pytest.raises(DataError, match=r"pha_toy.fits: expected 3 channels as in EBOUNDS, found 4"):
        read(pha)
