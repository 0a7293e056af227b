"""Cubes of counts: predictions against closed forms, statistics, masks, simulated counts."""

import astropy.units as u
import numpy as np
import pytest
from map_dataset_toys import (
    AREA_TIME,
    AXIS,
    AXIS_TRUE,
    GEOM,
    IMAGE,
    SAME_TRUE,
    cube,
    dataset,
    edisp,
    exposure,
    flux,
    gauss,
    isotropic,
    point,
    psf,
)

from villard.datasets import Datasets, MapDataset
from villard.exceptions import DataError, ModelError
from villard.irf import EDispKernelMap
from villard.maps import WcsNDMap
from villard.modeling import Fit
from villard.modeling.models import FoVBackgroundModel, Models


def test_isotropic_emission_without_psf() -> None:
    model = isotropic()
    toy = dataset(models=model)
    value = model.spatial_model.value.quantity.to_value("sr-1")
    expected = flux()[:, np.newaxis, np.newaxis] * value * AREA_TIME * GEOM.solid_angle().value
    np.testing.assert_allclose(toy.npred_signal().data, expected, rtol=1e-6)


def test_point_source_at_a_pixel_centre_without_psf() -> None:
    toy = dataset(models=point())
    npred = toy.npred_signal().data
    np.testing.assert_allclose(npred.sum(axis=(1, 2)), flux() * AREA_TIME, rtol=1e-9)
    # Shares of neighbouring pixels have rounded corners, so that positions have derivatives.
    assert np.all(npred.max(axis=(1, 2)) > 0.94 * npred.sum(axis=(1, 2)))
    x, y = IMAGE.skydir_to_pix(toy.models["point"].spatial_model.position)
    assert np.unravel_index(np.argmax(npred[0]), npred[0].shape) == (round(float(y)), round(float(x)))


def test_point_source_with_gaussian_psf() -> None:
    toy = dataset(models=point(), psf=psf(sigma=0.1))
    npred = toy.npred_signal().data
    np.testing.assert_allclose(npred.sum(axis=(1, 2)), flux() * AREA_TIME, rtol=1e-3)
    separation = IMAGE.separation(toy.models["point"].spatial_model.position).to_value("deg")
    for sigmas in (1, 2, 3):
        inside = npred[0][separation < 0.1 * sigmas].sum() / npred[0].sum()
        pixels = np.sum(separation < 0.1 * sigmas) * 0.05**2 / (np.pi * (0.1 * sigmas) ** 2)
        # The circle is made of pixels: compare for their area.
        assert inside == pytest.approx(1 - np.exp(-(sigmas**2) * pixels / 2), abs=0.02)


def test_widths_add_in_squares() -> None:
    toy = dataset(models=gauss(sigma=0.15), psf=psf(sigma=0.2))
    image = toy.npred_signal().data[1]
    x, y = IMAGE.skydirs().l.wrap_at("180d").deg, IMAGE.skydirs().b.deg
    for coordinate in (x, y):
        variance = np.sum(image * coordinate**2) / image.sum()
        # The integral over pixels adds the variance of a pixel.
        assert np.sqrt(variance) == pytest.approx(np.sqrt(0.15**2 + 0.2**2 + 0.05**2 / 12), rel=0.01)


def test_energy_dispersion_folds_the_spectrum() -> None:
    toy = dataset(models=point(), exposure=exposure(AXIS_TRUE), edisp=edisp())
    matrix = edisp().get_edisp_kernel().pdf_matrix
    expected = (flux(AXIS_TRUE) * AREA_TIME) @ matrix
    np.testing.assert_allclose(toy.npred_signal().data.sum(axis=(1, 2)), expected, rtol=1e-8)


def test_exposure_may_have_other_units_and_pixels() -> None:
    coarse = IMAGE.to_binsz(0.5)
    toy = dataset(models=gauss(), psf=psf())
    other = dataset(
        models=gauss(),
        psf=psf(),
        exposure=cube(AREA_TIME * 1e-4, coarse.to_cube([SAME_TRUE]), unit="m2 s"),
    )
    np.testing.assert_allclose(toy.npred().data, other.npred().data, rtol=1e-6)


def test_total_is_signal_and_background() -> None:
    models = Models([point(), gauss()])
    toy = dataset(models=models)
    parts = [toy.npred_signal(name).data for name in ("point", "gauss")]
    np.testing.assert_allclose(toy.npred_signal().data, sum(parts), rtol=1e-12)
    np.testing.assert_allclose(toy.npred_signal(["gauss", "point"]).data, sum(parts), rtol=1e-12)
    np.testing.assert_allclose(toy.npred().data, sum(parts) + toy.background.data, rtol=1e-12)
    assert toy.npred_background().data.sum() == pytest.approx(toy.background.data.sum())
    assert toy.npred_signal([]).data.sum() == 0


def test_background_model_scales_the_background() -> None:
    model = FoVBackgroundModel(dataset_name="toy")
    model.spectral_model.norm.value, model.spectral_model.tilt.value = 1.5, 0.5
    toy = dataset(models=[point(), model])
    factor = 1.5 * AXIS.center.to_value("TeV") ** -0.5
    expected = toy.background.data * factor[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(toy.npred_background().data, expected, rtol=1e-12)
    total = expected + toy.npred_signal().data
    np.testing.assert_allclose(toy.npred().data, total, rtol=1e-12)
    mu = total.ravel()
    assert toy.stat_sum() == pytest.approx(np.sum(2 * (mu - np.log(mu))), rel=1e-12)
    with pytest.raises(DataError, match=r"'toy': no model 'toy-bkg'. Did you mean|Available: point"):
        toy.npred_signal("toy-bkg")


def test_one_background_model_only() -> None:
    toy = dataset(models=[FoVBackgroundModel(dataset_name="toy", name=name) for name in ("one", "two")])
    with pytest.raises(ModelError, match="'toy': expected one background model, found one, two"):
        toy.npred_background()


@pytest.mark.parametrize("stat_type", ["cash", "cstat"])
def test_statistic_in_closed_form(stat_type: str) -> None:
    counts = np.arange(3)[:, np.newaxis, np.newaxis]
    toy = dataset(counts=cube(counts), stat_type=stat_type)
    mu = np.array([0.6, 0.2, 0.1])
    n = np.array([0.0, 1.0, 2.0])
    expected = 2 * (mu - n * np.log(mu))
    if stat_type == "cstat":
        expected -= 2 * (n - n * np.log(np.where(n > 0, n, 1)))
    assert toy.stat_array().shape == GEOM.data_shape
    np.testing.assert_allclose(toy.stat_array()[:, 5, 7], expected, rtol=1e-12)
    assert toy.stat_sum() == pytest.approx(expected.sum() * IMAGE.data_shape[0] * IMAGE.data_shape[1])


def test_masks_limit_the_sum_and_not_the_array() -> None:
    toy = dataset()
    toy.mask_safe = GEOM.energy_mask(energy_min=2 * u.TeV)
    assert toy.mask.data.sum() == 2 * IMAGE.data_shape[0] * IMAGE.data_shape[1]
    toy.mask_fit = GEOM.region_mask("galactic;circle(0, 0, 0.3)")
    selected = toy.mask_safe.data & toy.mask_fit.data
    assert np.array_equal(toy.mask.data, selected)
    assert np.array_equal(toy.mask_image.data, selected.any(axis=0))
    assert np.all(toy.mask_safe_image.data)
    assert np.array_equal(toy.mask_fit_image.data, toy.mask_fit.data[0])
    assert toy.stat_sum() == pytest.approx(toy.stat_array()[selected].sum())
    low, high = toy.energy_range
    assert np.nanmin(low.data) == pytest.approx(10 ** (1 / 3))
    assert np.nanmax(high.data) == pytest.approx(10)
    assert np.array_equal(np.isfinite(low.data), toy.mask_image.data)
    assert Datasets([toy]).energy_ranges[0].value == pytest.approx(10 ** (1 / 3))


def test_counts_that_are_masked_may_be_nan() -> None:
    counts = cube(1.0)
    counts.data[0, 0, 0] = np.nan
    toy = dataset(counts=counts)
    with pytest.raises(DataError, match=r"'toy': counts: expected finite values .* found 1 .* bin 0"):
        toy.stat_sum()
    toy.mask_safe = cube(np.isfinite(counts.data))
    assert np.isfinite(toy.stat_sum())


def test_residuals() -> None:
    toy = dataset(models=point())
    model = toy.npred().data
    np.testing.assert_allclose(toy.residuals().data, 1 - model)
    np.testing.assert_allclose(toy.residuals("diff/model").data, (1 - model) / model)
    np.testing.assert_allclose(toy.residuals("diff/sqrt(model)").data, (1 - model) / np.sqrt(model))
    with pytest.raises(DataError, match="Unknown method of residuals"):
        toy.residuals("chi")


def test_fake_counts_are_poisson() -> None:
    toy = dataset(models=gauss(), counts=None)
    toy.fake(random_state=42)
    first = toy.counts.data.copy()
    toy.fake(random_state=42)
    assert np.array_equal(first, toy.counts.data)
    npred = toy.npred().data
    chi = (first - npred) / np.sqrt(npred)
    n = chi.size
    assert abs(chi.mean()) < 4 / np.sqrt(n)
    # The variance of the squared pull of a Poisson number is 2 + 1/μ.
    assert abs(np.mean(chi**2) - 1) < 4 * np.sqrt(np.mean(2 + 1 / npred) / n)


def test_fake_needs_means() -> None:
    background = cube(1.0)
    background.data[0, 0, 0] = np.nan
    toy = dataset(background=background)
    with pytest.raises(DataError, match="'toy': expected predicted counts from 0 on, found nan"):
        toy.fake(0)


def test_fit_of_simulated_counts() -> None:
    source = gauss()
    background = FoVBackgroundModel(dataset_name="toy")
    toy = dataset(models=[source, background], psf=psf())
    toy.fake(random_state=1)
    truth = [p.value for p in toy.models.parameters.free_parameters]
    result = Fit().run([toy])
    assert result.success
    for parameter, value in zip(toy.models.parameters.free_parameters, truth, strict=True):
        assert abs(parameter.value - value) < 4 * parameter.error, parameter.name
    assert result.total_stat == pytest.approx(toy.stat_sum(), abs=0.02)


def test_create() -> None:
    empty = MapDataset.create(GEOM, energy_axis_true=AXIS_TRUE, name="empty")
    assert empty.name == "empty"
    assert empty.geom is GEOM
    assert not empty.mask_safe.data.any()
    assert empty.counts.data.sum() == empty.background.data.sum() == empty.exposure.data.sum() == 0
    assert empty.exposure.unit == u.Unit("m2 s")
    shapes = {key: geom.data_shape for key, geom in empty.geoms.items()}
    assert shapes == {
        "geom": (3, 40, 60),
        "geom_exposure": (5, 40, 60),
        "geom_psf": (5, 66, 10, 15),
        "geom_edisp": (5, 3, 10, 15),
    }
    assert empty.livetime == empty.gti.time_sum == 0 * u.s
    with pytest.raises(DataError, match="expected at least one bin in mask_safe and mask_fit"):
        empty.stat_sum()
    assert empty.info_dict()["stat_sum"] == 0
    assert "Number of fit bins              : 0" in str(empty)


def test_copy_shares_nothing() -> None:
    toy = dataset(models=point(), psf=psf(), edisp=EDispKernelMap.from_diagonal_response(AXIS, SAME_TRUE))
    other = toy.copy(name="other")
    assert other.name == "other"
    assert other.models is None
    other.counts.data[...] = 7
    other.exposure.data[...] = 0
    assert toy.counts.data.sum() == toy.counts.data.size
    assert toy.exposure.data.min() > 0
    assert other.psf is not toy.psf
    assert toy.copy(name="third").npred_background().data.sum() == pytest.approx(toy.background.data.sum())


def test_models_of_other_datasets_are_left_out() -> None:
    mine, other = point(), gauss()
    other.datasets_names = ["elsewhere"]
    toy = dataset(models=[mine, other, FoVBackgroundModel(dataset_name="elsewhere")])
    assert toy.models.names == ["point"]


def test_summary() -> None:
    toy = dataset(models=point(), mask_safe=GEOM.energy_mask(energy_max=4 * u.TeV))
    info = toy.info_dict()
    n = 1  # bins of energy that are safe
    pixels = IMAGE.data_shape[0] * IMAGE.data_shape[1]
    assert info["counts"] == n * pixels
    assert info["background"] == pytest.approx(0.6 * pixels)
    assert info["n_bins"] == 3 * pixels
    assert info["n_fit_bins"] == n * pixels
    assert info["npred_signal"] == pytest.approx(flux()[0] * AREA_TIME)
    assert info["exposure_max"] == AREA_TIME * u.Unit("cm2 s")
    assert info["livetime"] == 100 * u.s
    everything = toy.info_dict(in_safe_data_range=False)
    assert everything["counts"] == 3 * pixels
    text = str(toy)
    assert text.startswith("MapDataset\n----------\n")
    assert "Component 0: SkyModel" in text


def test_attributes_are_known() -> None:
    toy = dataset()
    with pytest.raises(DataError, match=r"MapDataset has no attribute 'mask_fitt'. Did you mean 'mask_fit'"):
        toy.mask_fitt = cube(True)
    assert isinstance(toy.excess, WcsNDMap)
