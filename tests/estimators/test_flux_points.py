"""Flux points: conversions in closed form and as Gammapy's, rules of upper limits, copies, plots."""

import json
from pathlib import Path

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from villard.estimators import FluxPoints
from villard.exceptions import DataError, ModelError
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling.models import LogParabolaSpectralModel, PowerLawSpectralModel, SkyModel

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "flux_points.json").read_text())
UNITS = {"dnde": "cm-2 s-1 TeV-1", "e2dnde": "erg cm-2 s-1", "flux": "cm-2 s-1", "eflux": "erg cm-2 s-1"}


def make_table(sed_type="flux", n=4, **columns):
    edges = np.geomspace(1, 100, n + 1)
    table = Table({"e_min": edges[:-1] * u.TeV, "e_max": edges[1:] * u.TeV})
    values = np.geomspace(1e-11, 1e-13, n) * u.Unit(UNITS[sed_type])
    table[sed_type], table[f"{sed_type}_err"] = values, 0.1 * values
    for name, column in columns.items():
        table[name] = column
    table.meta["SED_TYPE"] = sed_type
    return table


def make_profiles(best=(1.0, 0.5, 2.0), sigma=(0.1, 0.2, 0.5)):
    """Flux points with Gaussian profiles."""
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=len(best))
    norm = MapAxis.from_nodes(np.linspace(-1, 5, 25), name="norm", interp="lin")
    best, sigma = np.array(best), np.array(sigma)
    scan = ((norm.center.value - best[:, None]) / sigma[:, None]) ** 2 + 7

    def as_map(values, axes=(axis,)):
        geom = RegionGeom(None, axes=list(axes))
        return RegionNDMap(geom, data=np.asarray(values).reshape(geom.data_shape))

    data = {"norm": as_map(best), "norm_err": as_map(sigma), "stat": as_map(np.full(len(best), 7.0))}
    data["stat_null"] = as_map((best / sigma) ** 2 + 7)
    data["stat_scan"] = as_map(scan, (norm, axis))
    return FluxPoints(data, PowerLawSpectralModel(index=2))


@pytest.mark.parametrize("file", REFERENCE["files"])
def test_quantities_are_those_of_gammapy(file, gammapy_data):
    points = FluxPoints.read(gammapy_data / file)
    for name, expected in REFERENCE["files"][file].items():
        if name == "energy_ref":
            assert_allclose(points.energy_ref.to_value("TeV"), expected, rtol=1e-8)
            continue
        found = points.quantity(name).value
        # The likelihood table states the reference, which Gammapy interpolates between the points.
        assert_allclose(found, np.array(expected, dtype=float), rtol=1e-8, err_msg=name)


@given(st.floats(1.2, 4.0), st.floats(0.1, 10.0), st.floats(1.05, 5.0))
def test_conversion_of_a_power_law_in_closed_form(index, e_min, ratio):
    e_max = e_min * ratio
    table = Table({"e_min": [e_min] * u.TeV, "e_max": [e_max] * u.TeV, "flux": [1e-12] * u.Unit("cm-2 s-1")})
    points = FluxPoints.from_table(table, "flux", reference_model=PowerLawSpectralModel(index=index))
    e_ref = np.sqrt(e_min * e_max)
    integral = (e_min ** (1 - index) - e_max ** (1 - index)) / (index - 1)
    assert_allclose(points.quantity("dnde").value, 1e-12 * e_ref**-index / integral, rtol=1e-9)
    x = 2 - index
    energy = np.log(ratio) if abs(x) < 1e-9 else (e_max**x - e_min**x) / x
    assert_allclose(points.quantity("eflux").to_value("TeV cm-2 s-1"), 1e-12 * energy / integral, rtol=1e-7)
    assert_allclose(points.quantity("e2dnde"), points.quantity("dnde") * (e_ref * u.TeV) ** 2, rtol=1e-12)


@pytest.mark.parametrize("sed_type", UNITS)
def test_what_was_given_comes_back(sed_type):
    table = make_table(sed_type)
    points = FluxPoints.from_table(table, reference_model=PowerLawSpectralModel(index=2.7))
    assert points.sed_type_init == sed_type
    assert_allclose(points.quantity(sed_type), table[sed_type].quantity, rtol=1e-12)
    assert_allclose(points.quantity(f"{sed_type}_err"), table[f"{sed_type}_err"].quantity, rtol=1e-12)
    # A new reference leaves the measurement and changes what is derived from it.
    other = points.copy(reference_model=LogParabolaSpectralModel(alpha=3, beta=0.2))
    assert_allclose(other.quantity(sed_type), table[sed_type].quantity, rtol=1e-12)
    assert not np.allclose(other.quantity("norm"), points.quantity("norm"))


def test_units_are_converted_and_photons_left_out():
    table = make_table()
    table["flux"] = table["flux"].quantity.to("m-2 s-1") * u.ph
    table["flux_err"] = table["flux_err"].quantity.to("m-2 s-1") * u.ph
    points = FluxPoints.from_table(table)
    assert_allclose(points.quantity("flux"), make_table()["flux"].quantity, rtol=1e-12)


def test_maps_are_those_that_scripts_expect():
    points = FluxPoints.from_table(make_table())
    assert points.dnde.data.shape == (4, 1, 1)
    assert points.dnde.quantity.unit == u.Unit("cm-2 s-1 TeV-1")
    assert points.dnde.geom.axes["energy"].nbin == 4
    assert points.dnde_ref.shape == points.flux_ref.shape == (4, 1, 1)
    assert points.energy_ref.shape == points.energy_min.shape == (4,)
    # The norm can be changed in place.
    points.norm.data[0] = 0
    assert points.flux.data[0, 0, 0] == 0


def test_energies_of_the_file_are_kept():
    # Points needn't be in the middle of their bins, which may have gaps.
    table = make_table("dnde", n=3)
    table["e_max"][0] = 3
    table["e_ref"] = [1.3, 10, 50] * u.TeV
    points = FluxPoints.from_table(table)
    assert_allclose(points.energy_ref.value, [1.3, 10, 50])
    assert_allclose(points.energy_max.value, [3, 21.5443469, 100])
    assert_allclose(points.quantity("e2dnde").to_value("TeV cm-2 s-1")[0], 1.3**2 * 1e-11)
    assert points.energy_axis.node_type == "center"
    assert_allclose(points.slice_by_energy(5 * u.TeV, 70 * u.TeV).energy_min.value, [4.64158883, 21.5443469])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, [False] * 4),
        # GADF: a limit is meant where one is given ...
        ({"flux_ul": [np.nan, 1e-12, np.nan, 1e-12]}, [False, True, False, True]),
        # ... unless flags say otherwise ...
        ({"flux_ul": [1e-12] * 4, "is_ul": [True, False, False, True]}, [True, False, False, True]),
        # ... or significances.
        ({"flux_ul": [1e-12] * 4, "ts": [25.0, 3.9, 4.1, 0.0]}, [False, True, False, True]),
    ],
)
def test_which_points_are_upper_limits(columns, expected):
    table = make_table(**columns)
    if "flux_ul" in columns:
        table["flux_ul"].unit = "cm-2 s-1"
    assert FluxPoints.from_table(table).is_ul.data.ravel().tolist() == expected


def test_significance_follows_from_the_statistic_with_the_sign_of_the_flux():
    table = make_table(stat=[1.0, 2, 3, 4], stat_null=[10.0, 6, 4, 4])
    table["flux"][1] *= -1
    points = FluxPoints.from_table(table)
    assert_allclose(points.quantity("ts").value, [9, 4, 1, 0])
    assert_allclose(points.quantity("sqrt_ts").value, [3, -2, 1, 0])


def test_failed_fits_are_nan():
    table = make_table(success=[True, False, True, True])
    points = FluxPoints.from_table(table)
    assert np.isnan(points.dnde.data.ravel()).tolist() == [False, True, False, False]
    points.filter_success_nan = False
    assert np.all(np.isfinite(points.dnde.data))


@pytest.mark.parametrize("n_sigma", [1, 2, 3])
def test_upper_limits_of_gaussian_profiles(n_sigma):
    points = make_profiles().recompute_ul(n_sigma_ul=n_sigma)
    assert points.n_sigma_ul == n_sigma
    assert_allclose(
        points.quantity("norm_ul").value, np.array([1, 0.5, 2]) + n_sigma * np.array([0.1, 0.2, 0.5])
    )


def test_upper_limit_beyond_the_profile_is_not_made_up():
    limits = make_profiles(best=(1.0, 4.0, 2.0), sigma=(0.1, 0.6, 0.2)).recompute_ul(2).quantity("norm_ul")
    assert np.isnan(limits.value).tolist() == [False, True, False]


def test_upper_limits_from_eleven_values_of_real_data(gammapy_data):
    # The file was made with limits at 3 sigma, found by minimisation.
    points = FluxPoints.read(gammapy_data / "estimators/crab_hess_fp/crab_hess_fp.fits")
    assert points.n_sigma_ul == 3
    assert_allclose(points.recompute_ul(3).quantity("norm_ul"), points.quantity("norm_ul"), rtol=2e-3)


def test_slices():
    points = FluxPoints.from_table(make_table(counts=np.arange(4.0)[:, None]))
    part = points.slice_by_energy(3 * u.TeV, 40 * u.TeV)
    assert_allclose(part.energy_min.value, [3.16227766, 10])
    assert part.counts.data.ravel().tolist() == [1, 2]
    assert_allclose(part.quantity("eflux"), points.quantity("eflux")[1:3])
    assert len(points.slice_by_idx({"energy": slice(0, 1)})) == 1


def test_reference_is_safe_from_later_fits():
    model = SkyModel(PowerLawSpectralModel(index=2), name="source")
    points = FluxPoints.from_table(make_table(), reference_model=model)
    before = points.quantity("dnde")
    model.spectral_model.index.value = 4
    assert points.reference_model.spectral_model.index.value == 2
    assert_allclose(points.copy().quantity("dnde"), before)


def test_missing_quantities():
    points = FluxPoints.from_table(make_table("dnde"))
    assert not hasattr(points, "norm_ul")
    assert not points.has("ts")
    with pytest.raises(DataError, match=r"no 'dnde_ul'; there are norm, norm_err"):
        points.dnde_ul  # noqa: B018
    with pytest.raises(DataError, match="likelihood profiles"):
        points.recompute_ul()
    only_ref = Table({"e_ref": [1, 2] * u.TeV, "dnde": [1, 2] * u.Unit("cm-2 s-1 TeV-1")})
    with pytest.raises(DataError, match="flux needs the bins"):
        FluxPoints.from_table(only_ref).flux  # noqa: B018


def test_bad_input_is_named():
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    norm = RegionNDMap.create(None, axes=[axis])
    with pytest.raises(DataError, match="expected a map 'norm'"):
        FluxPoints({"dnde": norm})
    with pytest.raises(DataError, match="unknown quantity 'nrom_err'"):
        FluxPoints({"norm": norm, "nrom_err": norm})
    points = FluxPoints({"norm": norm})
    with pytest.raises(DataError, match="unknown quantity 'dnd'"):
        points.quantity("dnd")
    with pytest.raises(DataError, match="none of 2 points"):
        points.slice_by_idx({"energy": slice(5, 6)})
    with pytest.raises(DataError, match="unknown sed_type 'dndE'"):
        points.plot(sed_type="dndE")
    with pytest.raises(ModelError, match="SkyModel or a spectral model, found float"):
        points.copy(reference_model=2.0)
    with pytest.raises(ModelError, match="positive dnde"):
        points.copy(reference_model=PowerLawSpectralModel(amplitude=0))
    with pytest.raises(DataError, match="no likelihood profiles"):
        points.plot_ts_profiles()


def test_text():
    text = str(FluxPoints.from_table(make_table(flux_ul=[1e-12] * 4 * u.Unit("cm-2 s-1"), is_ul=[True] * 4)))
    assert "4, of which 4 upper limits" in text
    assert "PowerLawSpectralModel (assumed)" in text
    assert "unknown confidence" in text


@pytest.mark.parametrize("sed_type", [*UNITS, "norm"])
def test_plot_shows_points_errors_and_limits(sed_type):
    limits = np.geomspace(1e-11, 1e-13, 4) * u.Unit("cm-2 s-1")
    points = FluxPoints.from_table(make_table(flux_ul=limits, is_ul=[False, False, True, False]))
    ax = points.plot(sed_type=sed_type, energy_power=1 if sed_type == "dnde" else 0, color="red")
    x, y = ax.containers[0].lines[0].get_data()
    assert_allclose(x, points.energy_ref.value)
    assert np.all(np.isfinite(y))
    assert ax.get_yscale() == "log"
    assert "Energy" in ax.get_xlabel()
    expected = points.quantity(sed_type).value * (points.energy_ref.value if sed_type == "dnde" else 1)
    assert_allclose(y[[0, 1, 3]], expected[[0, 1, 3]])
    plt.gcf().canvas.draw()


def test_asymmetric_errors_are_drawn():
    points = FluxPoints.from_table(make_table())
    flux = points.quantity("flux")
    table = points.to_table("flux")
    table["flux_errn"], table["flux_errp"] = 0.05 * flux, 0.3 * flux
    ax = FluxPoints.from_table(table).plot(sed_type="flux")
    segments = ax.containers[0].lines[2][-1].get_segments()
    low, high = np.array([segment[:, 1] for segment in segments]).T
    assert_allclose([low, high], [0.95 * flux.value, 1.3 * flux.value])


def test_profiles_are_drawn_to_scale():
    points = make_profiles()
    ax = points.plot_ts_profiles(sed_type="norm")
    mesh = ax.collections[0]
    image = np.ma.filled(mesh.get_array(), np.nan)
    edges = mesh.get_coordinates()[:, 0, 1]
    centers = np.sqrt(edges[:-1] * edges[1:])
    for column, best in enumerate((1.0, 0.5, 2.0)):
        assert_allclose(centers[np.nanargmin(image[:, column])], best, rtol=0.02)
    assert len(ax.figure.axes) == 2


def test_points_and_model_in_one_figure():
    points = FluxPoints.from_table(make_table())
    model = PowerLawSpectralModel(index=2.5, amplitude="1e-11 cm-2 s-1 TeV-1")
    model.amplitude.error = 1e-12
    ax = points.plot_with_model(SkyModel(model, name="source"))
    assert len(ax.lines) > 0
    assert len(ax.collections) > 0
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["Model", "Flux points"]
    with pytest.raises(DataError, match="must be 'dnde' or 'e2dnde'"):
        points.plot_with_model(model, sed_type="flux")
