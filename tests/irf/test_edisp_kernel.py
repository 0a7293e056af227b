import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from villard.exceptions import DataError
from villard.irf import EDispKernel
from villard.maps import MapAxis

TRUE = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=4, name="energy_true")
RECO = MapAxis.from_energy_bounds("0.2 TeV", "20 TeV", nbin=5)


def test_gauss_is_the_integral_of_the_normal_distribution():
    kernel = EDispKernel.from_gauss(TRUE, RECO, sigma=0.2, bias=0.1, pdf_threshold=0)
    migra = RECO.edges.value / TRUE.center.value[:, np.newaxis]
    assert_allclose(kernel.pdf_matrix, np.diff(norm(1.1, 0.2).cdf(migra)), rtol=1e-9, atol=1e-14)
    # gammapy 2.1, which integrates over a grid of migrations.
    assert_allclose(kernel.pdf_matrix[:2, :2], [[0.450944451, 0], [0.150674823, 0.849288756]], atol=1e-4)


@given(st.floats(0.01, 0.5), st.floats(-0.3, 0.3))
def test_gauss_on_a_wide_axis_keeps_all_photons(sigma, bias):
    wide = MapAxis.from_energy_bounds("1e-6 TeV", "1000 TeV", nbin=120)
    kernel = EDispKernel.from_gauss(TRUE, wide, sigma, bias, pdf_threshold=0)
    # What a Gaussian has below zero energy is lost.
    expected = norm.cdf((1 + bias) / sigma)
    assert_allclose(kernel.pdf_matrix.sum(axis=1), expected, atol=2e-5)


@given(st.floats(0.05, 0.2), st.floats(-0.1, 0.1))
def test_gauss_moments(sigma, bias):
    fine = MapAxis.from_energy_bounds("0.01 TeV", "100 TeV", nbin=2000)
    kernel = EDispKernel.from_gauss(TRUE, fine, sigma, bias, pdf_threshold=0)
    energy = TRUE.center
    assert_allclose(kernel.get_bias(energy), bias, atol=1e-3)
    assert_allclose(kernel.get_resolution(energy), sigma, rtol=0.01)
    assert_allclose(kernel.get_mean(energy) / energy, 1 + bias, rtol=1e-3)


def test_gauss_keeps_digits_far_above_the_mean():
    reco = MapAxis.from_energy_edges([1, 3, 4] * u.TeV)
    true = MapAxis.from_energy_edges([0.9, 1 / 0.9] * u.TeV, name="energy_true")
    kernel = EDispKernel.from_gauss(true, reco, sigma=0.2, pdf_threshold=0)
    assert_allclose(kernel.pdf_matrix[0, 1], norm.sf(10) - norm.sf(15), rtol=1e-9)


def test_gauss_per_bin_values_and_threshold():
    sigma, bias = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0.1, 0, -0.1])
    kernel = EDispKernel.from_gauss(TRUE, RECO, sigma, bias)
    for i in range(4):
        single = EDispKernel.from_gauss(TRUE, RECO, sigma[i], bias[i])
        assert_array_equal(kernel.pdf_matrix[i], single.pdf_matrix[i])
    assert (
        EDispKernel.from_gauss(TRUE, RECO, 0.3, pdf_threshold=0.01)
        .pdf_matrix[EDispKernel.from_gauss(TRUE, RECO, 0.3, pdf_threshold=0.01).pdf_matrix > 0]
        .min()
        >= 0.01
    )


def test_diagonal():
    assert_array_equal(EDispKernel.from_diagonal_response(TRUE).pdf_matrix, np.eye(4))
    near = MapAxis.from_energy_edges(TRUE.edges.to("keV").astype("f4"))
    assert_array_equal(EDispKernel.from_diagonal_response(TRUE, near).pdf_matrix, np.eye(4))
    # gammapy 2.1
    expected = [
        [0.5375247, 0, 0, 0, 0],
        [0.27223907, 0.72776093, 0, 0, 0],
        [0, 0.12112907, 0.87887093, 0, 0],
        [0, 0, 0.00109813, 0.70087038, 0.29803149],
    ]
    assert_allclose(EDispKernel.from_diagonal_response(TRUE, RECO).pdf_matrix, expected, atol=1e-8)


@given(st.integers(1, 30), st.integers(1, 30))
def test_diagonal_keeps_all_photons_on_a_covering_axis(n_true, n_reco):
    true = MapAxis.from_energy_bounds("0.3 TeV", "7 TeV", nbin=n_true, name="energy_true")
    reco = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=n_reco)
    assert_allclose(EDispKernel.from_diagonal_response(true, reco).pdf_matrix.sum(axis=1), 1, atol=1e-4)


def test_kernel_is_immutable():
    data = np.eye(4)
    kernel = EDispKernel([TRUE, TRUE.rename("energy")], data)
    data[0, 0] = 5
    assert kernel.data[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        kernel.pdf_matrix[0, 0] = 5


def test_rows_stay_as_they_are():
    data = np.full((4, 5), 0.01)
    assert_array_equal(EDispKernel([TRUE, RECO], data).pdf_matrix, data)


def test_lookup():
    kernel = EDispKernel.from_gauss(TRUE, RECO, sigma=0.2)
    assert kernel.evaluate(1.5 * u.TeV, 1.5 * u.TeV) == kernel.pdf_matrix[2, 2]
    assert np.isnan(kernel.evaluate(100 * u.TeV, 1.5 * u.TeV))
    assert np.isnan(kernel.get_bias(100 * u.TeV))
    empty = EDispKernel([TRUE, RECO])
    assert np.isnan(empty.get_mean(TRUE.center)).all()


def test_derived_kernels():
    kernel = EDispKernel.from_gauss(TRUE, RECO, sigma=0.2)
    part = kernel.slice_by_idx({"energy": slice(1, 4)})
    assert_array_equal(part.pdf_matrix, kernel.pdf_matrix[:, 1:4])
    assert part.axes["energy"].nbin == 3
    assert_array_equal(kernel.slice({"energy_true": slice(0, 2)}).pdf_matrix, kernel.pdf_matrix[:2])
    joined = kernel.resample_energy_axis(MapAxis.from_energy_edges(RECO.edges[[1, 3, 5]]))
    assert_allclose(joined.pdf_matrix[:, 0], kernel.pdf_matrix[:, 1:3].sum(axis=1))
    assert_allclose(joined.pdf_matrix[:, 1], kernel.pdf_matrix[:, 3:5].sum(axis=1))
    assert kernel.copy().is_allclose(kernel)
    assert not part.is_allclose(kernel)


def test_text():
    kernel = EDispKernel.from_gauss(TRUE, RECO, sigma=0.2)
    assert repr(kernel) == "EDispKernel(4 x 5, energy_true 0.1 to 10 TeV, energy 0.2 to 20 TeV)"
    assert "row sums" in str(kernel)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axes": [RECO, TRUE]}, r"Expected axes \['energy_true', 'energy'\]"),
        ({"data": np.ones((5, 4))}, r"expected a matrix of shape \(4, 5\), found \(5, 4\)"),
        ({"data": np.full((4, 5), np.nan)}, "found nan at energy bin 0, channel 0"),
        ({"data": -np.ones((4, 5))}, "can't be negative"),
        ({"data": [["a"]]}, "expected a matrix of numbers"),
    ],
)
def test_bad_kernels_are_named(arguments, message):
    with pytest.raises(DataError, match=message):
        EDispKernel(**({"axes": [TRUE, RECO]} | arguments))


def test_bad_arguments_are_named():
    with pytest.raises(DataError, match=r"positive sigma, found 0\.0"):
        EDispKernel.from_gauss(TRUE, RECO, sigma=0)
    with pytest.raises(DataError, match="expected bias as a number, or one for each of 4"):
        EDispKernel.from_gauss(TRUE, RECO, sigma=0.1, bias=[0, 1])
    kernel = EDispKernel.from_diagonal_response(TRUE)
    with pytest.raises(DataError, match="expected a slice"):
        kernel.slice_by_idx({"energy": 3})
    with pytest.raises(DataError, match="No axis of the name"):
        kernel.slice_by_idx({"time": slice(0, 1)})


def test_plots():
    kernel = EDispKernel.from_gauss(TRUE, RECO, sigma=0.2)
    figure = kernel.peek()
    left, right = figure.axes[:2]
    assert left.get_xlabel() == "True energy [TeV]"
    assert left.get_ylabel() == "Energy [TeV]"
    assert left.get_yscale() == "log"
    assert right.get_xlabel() == "True energy [TeV]"
    _, ax = plt.subplots()
    assert kernel.plot_matrix(ax=ax, vmax=1, cmap="viridis") is ax
    assert kernel.plot_bias(color="k").lines[0].get_color() == "k"
