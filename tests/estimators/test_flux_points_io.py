"""Files of flux points: all representations and formats, other programs' files, damaged files."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from villard.estimators import FluxPoints
from villard.exceptions import DataError, FileFormatError, OverwriteError, UnitsError, VillardError
from villard.modeling.models import PowerLawSpectralModel

FILES = [
    "hawc/crab_flux/HAWC19_flux_points.fits",
    "estimators/crab_hess_fp/crab_hess_fp.fits",
    "tests/spectrum/flux_points/flux_points.fits",
    "tests/spectrum/flux_points/flux_points.ecsv",
    "tests/spectrum/flux_points/diff_flux_points.fits",
    "tests/spectrum/flux_points/diff_flux_points.ecsv",
    "fermi-extra/sed/sed.fits",
]
WITHOUT_BINS = ("diff_flux_points.fits", "diff_flux_points.ecsv")
SED_TYPES = ("likelihood", "dnde", "e2dnde", "flux", "eflux")


def make_points(**columns):
    edges = np.geomspace(1, 100, 4)
    table = Table({"e_min": edges[:-1] * u.TeV, "e_max": edges[1:] * u.TeV})
    table["norm"], table["norm_err"], table["norm_ul"] = [1.0, 2, np.nan], [0.1, 0.2, np.nan], [1.2, 2.4, 0.5]
    table["ts"], table["is_ul"] = [100.0, 100, 1], [False, False, True]
    table["counts"] = [[10.0, 20], [3, 5], [0, 0]]
    for name, column in columns.items():
        table[name] = column
    table.meta.update(SED_TYPE="likelihood", UL_CONF=0.95)
    return FluxPoints.from_table(table, reference_model=PowerLawSpectralModel(index=2.3))


def assert_same(found, expected, names=None):
    assert_allclose(found.energy_ref, expected.energy_ref, rtol=1e-9)
    for name in names or expected.available_quantities:
        assert_allclose(found.quantity(name), expected.quantity(name), rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "ecsv"])
@pytest.mark.parametrize("sed_type", SED_TYPES)
def test_round_trip(sed_type, suffix, tmp_path):
    points = make_points()
    points.meta["n_sigma"] = 2
    points.write(tmp_path / f"points.{suffix}", sed_type=sed_type)
    found = FluxPoints.read(tmp_path / f"points.{suffix}")
    assert_same(found, points)
    # The reference is in the file, so that other representations are the same too.
    assert_same(found, points, ["dnde", "eflux_ul"])
    assert found.sed_type_init == sed_type
    assert (found.n_sigma, found.n_sigma_ul) == (2, 1.96)


@pytest.mark.parametrize(
    ("file", "sed_type"),
    [(f, s) for f in FILES for s in SED_TYPES if not (f.endswith(WITHOUT_BINS) and s in ("flux", "eflux"))],
)
def test_round_trip_of_real_files(file, sed_type, gammapy_data, tmp_path):
    points = FluxPoints.read(gammapy_data / file)
    points.write(tmp_path / "points.fits", sed_type=sed_type)
    found = FluxPoints.read(tmp_path / "points.fits")
    name = "norm" if sed_type == "likelihood" else sed_type
    assert_same(found, points, [name, f"{name}_err", f"{name}_ul", "is_ul"])


def test_keywords_and_columns_of_gadf(tmp_path):
    make_points().write(tmp_path / "points.fits", sed_type="flux", checksum=True)
    with fits.open(tmp_path / "points.fits", checksum=True) as hdulist:
        header, columns = hdulist["FLUXPOINTS"].header, hdulist["FLUXPOINTS"].columns.names
    assert (header["SED_TYPE"], round(header["UL_CONF"], 3)) == ("flux", 0.95)
    assert {"e_ref", "e_min", "e_max", "flux", "flux_err", "flux_ul", "ts", "is_ul"} <= set(columns)
    assert "norm" not in columns


def test_good_time_intervals_pass_through(gammapy_data, tmp_path):
    points = FluxPoints.read(gammapy_data / "estimators/crab_hess_fp/crab_hess_fp.fits")
    points.write(tmp_path / "points.fits")
    assert_allclose(FluxPoints.read(tmp_path / "points.fits").gti.time_sum, points.gti.time_sum)


def test_columns_with_no_meaning_here_are_kept(tmp_path):
    points = make_points(ref_npred=[3.0, 2, 1], quality=["a", "b", "c"])
    for suffix in ("fits", "ecsv"):
        points.write(tmp_path / f"points.{suffix}")
        table = FluxPoints.read(tmp_path / f"points.{suffix}").to_table()
        assert list(table["ref_npred"]) == [3, 2, 1]
        assert list(table["quality"]) == ["a", "b", "c"]


def test_profiles_of_fermipy(gammapy_data):
    # Its file has ln L relative to the best fit, in columns of upper case.
    points = FluxPoints.read(gammapy_data / "fermi-extra/sed/sed.fits")
    scan, stat = points.quantity("stat_scan").value, points.quantity("stat").value
    assert np.all(scan >= stat[:, None] - 1e-2)
    # Their limits are at 95 % one-sided, 2 Δln L = 2.71.
    limits = points.recompute_ul(np.sqrt(2.71)).quantity("norm_ul")
    assert_allclose(limits, points.quantity("norm_ul"), rtol=0.02)


@pytest.mark.parametrize("relative_to", ["null", "best"])
def test_differences_of_the_likelihood(relative_to):
    norm = np.tile(np.linspace(0, 4, 9), (3, 1))
    best, sigma = np.array([[1.0], [2.0], [0.5]]), 0.3
    loglike = -0.5 * ((norm - best) / sigma) ** 2
    null = -0.5 * (best[:, 0] / sigma) ** 2
    offset = null[:, None] if relative_to == "null" else 0
    columns = {"norm": best[:, 0], "norm_scan": norm, "dloglike_scan": loglike - offset}
    points = make_points(**columns, loglike=np.full(3, -50.0), loglike_null=null - 50)
    assert_allclose(points.quantity("stat_scan").value, -2 * loglike + 100, atol=1e-9)
    assert_allclose(points.recompute_ul(1).quantity("norm_ul").value, best[:, 0] + sigma)


def test_scan_in_the_representation_of_the_table():
    flux = np.array([1e-12, 2e-12, 3e-12])
    table = Table({"e_min": [1, 2, 4] * u.TeV, "e_max": [2, 4, 8] * u.TeV, "flux": flux * u.Unit("cm-2 s-1")})
    table["flux_scan"] = flux[:, None] * np.linspace(0, 2, 5) * u.Unit("cm-2 s-1")
    table["stat_scan"] = np.tile(np.linspace(-2, 2, 5) ** 2, (3, 1))
    points = FluxPoints.from_table(table)
    assert_allclose(
        points.norm_scan / points.quantity("norm").value[:, None], np.tile(np.linspace(0, 2, 5), (3, 1))
    )
    assert points.stat_scan.geom.axes.names == ["norm_index", "energy"]


def test_text_tables_of_other_layouts(gammapy_data, tmp_path):
    # Four columns without units, not those of GADF: what is missing is said, and what to do shown.
    path = gammapy_data / "tests/spectrum/flux_points/flux_points_ctb_37b.txt"
    with pytest.raises(
        FileFormatError, match=r"flux_points_ctb_37b.txt: expected a table in the format ascii.ecsv"
    ):
        FluxPoints.read(path)
    with pytest.raises(
        FileFormatError, match=r"expected one of the columns norm, dnde, .*found e, differential_flux"
    ):
        FluxPoints.read(path, table_format="ascii")
    table = Table.read(path, format="ascii")
    table.rename_columns(table.colnames, ["e_ref", "dnde", "dnde_errn", "dnde_errp"])
    table["e_ref"].unit = "TeV"
    for name in table.colnames[1:]:
        table[name].unit = "cm-2 s-1 TeV-1"
    points = FluxPoints.from_table(table)
    assert_allclose(points.quantity("dnde_errp").value, table["dnde_errp"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda t: t.remove_column("norm"),
            FileFormatError,
            "expected a column norm for sed_type 'likelihood'",
        ),
        (lambda t: t.meta.update(SED_TYPE="rate"), DataError, "unknown sed_type 'rate'"),
        (lambda t: t.meta.update(UL_CONF=95), DataError, "UL_CONF: expected a probability"),
        (lambda t: t.meta.update(UL_CONF="high"), DataError, "UL_CONF: expected a number"),
        (lambda t: t.remove_column("e_min"), FileFormatError, "expected a column e_ref, or e_min and e_max"),
        (lambda t: setattr(t["e_min"], "unit", "cm"), UnitsError, "column e_min: expected a unit like TeV"),
        (
            lambda t: setattr(t["e_min"], "unit", None),
            UnitsError,
            "column e_min: expected a unit like TeV, found none",
        ),
        (
            lambda t: t.replace_column("e_max", 0.9 * t["e_min"]),
            FileFormatError,
            "expected e_min <= e_ref <= e_max",
        ),
        (lambda t: t.reverse(), FileFormatError, "energies must increase"),
        (
            lambda t: t.replace_column("norm", ["a", "b", "c"]),
            FileFormatError,
            "column norm: expected numbers",
        ),
        (lambda t: t.remove_rows([0, 1, 2]), FileFormatError, "no rows"),
    ],
)
def test_bad_tables_are_named(change, error, message):
    table = make_points().to_table()
    table.remove_columns(["e_ref", "ref_dnde", "ref_flux", "ref_eflux"])
    change(table)
    with pytest.raises(error, match=message):
        FluxPoints.from_table(table, where="points.fits")


def test_unknown_unit_in_a_file(tmp_path):
    hdu = fits.BinTableHDU(make_points().to_table("dnde"))
    hdu.columns["dnde"].unit = "furlongs"
    hdu.writeto(tmp_path / "points.fits")
    with pytest.warns(u.UnitsWarning), pytest.raises(UnitsError, match=r"points.fits.*furlongs"):
        FluxPoints.read(tmp_path / "points.fits")


def test_files_are_not_overwritten_unless_asked(tmp_path):
    points = make_points()
    points.write(tmp_path / "points.fits")
    with pytest.raises(OverwriteError, match=r"points.fits"):
        points.write(tmp_path / "points.fits")
    points.write(tmp_path / "points.fits", overwrite=True)
    with pytest.raises(DataError, match=r"ends in .fits, .fits.gz or .ecsv"):
        points.write(tmp_path / "points.txt")
    with pytest.raises(DataError, match="unknown format 'sed'"):
        points.to_table(format="sed")
    with pytest.raises(DataError, match="not found"):
        FluxPoints.read(tmp_path / "none.fits")


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_raise_only_our_exceptions(suffix, tmp_path, data):
    path = tmp_path / f"points.{suffix}"
    make_points().write(path, overwrite=True)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1), label="length")]
    else:
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            points = FluxPoints.read(path)
        except VillardError:
            return
    assert len(points) > 0
