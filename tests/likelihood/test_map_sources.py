"""Predicted counts of sources on maps: all of the flux, where it falls, and what can't be predicted."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from map_engine_toys import (
    AREA_TIME,
    AXIS,
    IMAGE,
    SAME_TRUE,
    SHAPES,
    TRUE,
    background,
    cube,
    dataset,
    image,
    source,
    spectrum,
    statistic,
)
from numpy.testing import assert_allclose
from scipy.special import ndtr

from villard.datasets import MapDataset
from villard.exceptions import DataError, ModelError
from villard.irf import PSFMap
from villard.likelihood import bind
from villard.likelihood.predict import predict
from villard.maps import MapAxis, WcsNDMap
from villard.modeling.models import GaussianSpatialModel, PointSpatialModel, SkyModel

WIDE = image((6.0, 6.0))


def flux(axis: MapAxis = AXIS) -> np.ndarray:
    edges = axis.edges
    return np.array([spectrum().integral(a, b).to_value("cm-2 s-1") for a, b in pairwise(edges)])


def signal(model: SkyModel, psf_method: str = "kernel", **kwargs: Any) -> np.ndarray:
    """Predicted counts in a cube of flat exposure without energy dispersion, shape (n_energies, n_y, n_x)."""
    psf = kwargs.pop("psf", 0.15)
    toy = dataset(**{"seed": None, "sloped": False, "edisp": False, "psf": None, **kwargs})
    toy.psf = fine_psf(psf)
    measurement = replace(toy.measurement(), psf_method=psf_method)
    return predict(measurement, [model]).reshape(toy.counts.data.shape)


def fine_psf(sigma: float | None) -> PSFMap | None:
    """A Gaussian PSF in a table that is linear between its nodes to 1e-4."""
    if sigma is None:
        return None
    rad = MapAxis.from_bounds(0, 6 * sigma, nbin=300, unit="deg", name="rad")
    return PSFMap.from_gauss(SAME_TRUE, rad, sigma=sigma * u.deg)


def gauss_image(sigma: float, lon: float, lat: float, geom: Any = IMAGE) -> np.ndarray:
    """Integral over pixels of a Gaussian near the origin, shape (n_y, n_x)."""
    n_x, n_y = (int(n) for n in np.ravel(geom.npix))
    x = geom.pix_to_skydir(np.arange(n_x + 1) - 0.5, np.full(n_x + 1, n_y / 2)).l.wrap_at("180d").deg
    y = geom.pix_to_skydir(np.full(n_y + 1, n_x / 2), np.arange(n_y + 1) - 0.5).b.deg
    across = -np.diff(ndtr((x - lon) / sigma))
    up = np.diff(ndtr((y - lat) / sigma))
    return up[:, None] * across


# Flux


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("psf", [0.15, 0.04, None])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_flux_is_lost(shape: str, psf: float | None, free: bool) -> None:
    model = source(shape)
    if not free:
        model.freeze()
    counts = signal(model, geom=WIDE, psf=psf)
    assert_allclose(counts.sum(axis=(1, 2)), flux() * AREA_TIME, rtol=1e-3)


@pytest.mark.parametrize("sigma", [1e-3, 1e-5, 0.0])
def test_shape_that_shrinks_to_nothing(sigma: float) -> None:
    """Far below the distance of the points at which it is evaluated a source still has all its flux."""
    model = source("gauss", sigma=sigma)
    assert_allclose(signal(model).sum(axis=(1, 2)), flux() * AREA_TIME, rtol=1e-3)
    model.spatial_model.sigma.value = 0.2
    likelihood = bind([dataset([model, background()], edisp=False)])
    theta = likelihood.theta
    theta[likelihood.column(model.spatial_model.sigma)] = sigma / 0.2
    value, gradient = likelihood.value_and_gradient(theta)
    assert np.all(np.isfinite([value, *gradient]))
    wide = likelihood.npred()[0].sum()
    assert_allclose(likelihood.npred(theta)[0].sum(), wide, rtol=0.02)


@pytest.mark.parametrize(("lon", "lat"), [(0.0, 0.0), (0.05, 0.05), (0.031, -0.074), (1.13, 0.97)])
@pytest.mark.parametrize("sigma", [0.3, 0.12, 0.05, 0.02])
def test_exact_psf(sigma: float, lon: float, lat: float) -> None:
    """Each pixel's share of a Gaussian PSF, also where it is narrower than a pixel.

    To 0.15 %: profiles end, smoothly, where they contain 99.9 %, and are normalised within.
    """
    geom = image((5.0, 5.0))
    counts = signal(source("point", lon_0=lon, lat_0=lat), "exact", geom=geom, psf=sigma)
    share = counts / (flux() * AREA_TIME)[:, None, None]
    expected = gauss_image(sigma, lon, lat, geom)
    assert_allclose(share.sum(axis=(1, 2)), 1, rtol=2e-4)
    assert_allclose(share, np.broadcast_to(expected, share.shape), atol=1.5e-3 * expected.max())


@pytest.mark.parametrize("sigma", [0.1, 0.15, 0.25, 0.4])
@pytest.mark.parametrize("psf", [0.15, 0.08])
def test_gaussian_source_has_its_closed_form(sigma: float, psf: float) -> None:
    width = np.hypot(sigma, psf)
    share = signal(source("gauss", sigma=sigma), geom=WIDE, psf=psf)[0] / (flux()[0] * AREA_TIME)
    expected = gauss_image(width, 0.13, -0.08, WIDE)
    assert_allclose(share, expected, atol=5e-3 * expected.max())


def test_kernels_of_points_converge_to_the_exact_psf() -> None:
    """Method "kernel" against "exact", largest difference over the largest share.

    A point source of a PSF of 0.15 deg (sigma), off the pixels' centres:

    ========== ==========
    Pixel size Difference
    ========== ==========
    0.2 deg    15 %
    0.1 deg    6 %
    0.05 deg   1.5 %
    0.025 deg  0.3 %
    ========== ==========
    """
    differences = []
    for binsz in (0.2, 0.1, 0.05, 0.025):
        geom = image((2.0, 2.0), binsz)
        model = source("point", lon_0=0.2 + 0.37 * binsz, lat_0=-0.2 + 0.21 * binsz)
        shared, exact = (signal(model, method, geom=geom)[0] for method in ("kernel", "exact"))
        differences.append(np.abs(shared - exact).max() / exact.max())
        assert_allclose(shared.sum(), exact.sum(), rtol=2e-3)
    ratio = np.array(differences[:-1]) / differences[1:]
    assert np.all(ratio > 2.5)
    assert_allclose(differences, [0.146, 0.0565, 0.0155, 0.0028], rtol=0.05)


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("radius", [0.3, 0.41, 0.9])
@pytest.mark.parametrize("e", [0.0, 0.6])
def test_pixels_at_the_edge_of_a_disk(radius: float, e: float, free: bool) -> None:
    """Beside the sum over 60 x 60 points of each pixel; an edge is a hundredth of the radius wide."""
    model = source("disk", edge_width=0.01, r_0=radius, e=e)
    if not free:
        model.freeze()
    geom = image((3.0, 3.0))
    share = signal(model, psf=None, geom=geom)[0] / (flux()[0] * AREA_TIME)
    fine = geom.to_image().upsample(60)
    density = model.spatial_model.evaluate_geom(fine).to_value("sr-1")
    n_y, n_x = share.shape
    expected = (density * fine.solid_angle().to_value("sr")).reshape(n_y, 60, n_x, 60).sum(axis=(1, 3))
    assert_allclose(share, expected, atol=1e-2 * expected.max())


# Edges


@pytest.mark.parametrize("place", [(1.15, 0.0), (1.3, 0.0), (1.2, -0.97), (0.4, 1.0)])
@pytest.mark.parametrize("psf_method", ["kernel", "exact"])
def test_sources_near_the_edge_lose_what_falls_outside(place: Any, psf_method: str) -> None:
    for shape, sigma in (("point", 0.15), ("gauss", np.hypot(0.15, 0.25))):
        model = source(shape, lon_0=place[0], lat_0=place[1])
        counts = signal(model, psf_method)
        inside = signal(model, psf_method, geom=WIDE)[:, 20:40, 18:42]
        assert np.all(np.isfinite(counts))
        assert_allclose(counts, inside, rtol=2e-3, atol=1e-3 * inside.max())
        share = counts.sum(axis=(1, 2)) / (flux() * AREA_TIME)
        # Shares of pixels beyond the edge count as if they were at their centres.
        within = 0.015 if shape == "point" and psf_method == "kernel" else 4e-3
        assert_allclose(share, gauss_image(sigma, *place).sum(), atol=within)
        if shape == "point" and psf_method == "exact":
            assert_allclose(share, gauss_image(sigma, *place).sum(), atol=1.5e-3)


def test_statistic_of_a_source_that_leaves_the_map_is_finite() -> None:
    model = source("gauss", lon_0=1.1)
    toy = dataset([model, background()])
    likelihood = bind([toy])
    theta = likelihood.theta
    column = likelihood.column(model.spatial_model.lon_0)
    for lon in np.linspace(0.5, 3.0, 6):
        theta[column] = lon / 1.1
        value, gradient = likelihood.value_and_gradient(theta)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


def test_source_outside() -> None:
    model = source("gauss", name="far", lon_0=20.0)
    toy = dataset([model, background()], seed=None)
    with pytest.raises(ModelError, match="'far' lies wholly outside"):
        bind([toy])
    model.freeze()
    assert np.all(toy.npred_signal().data == 0)
    assert_allclose(statistic(toy), toy.stat_sum(), rtol=1e-12)


# Longitudes and frames


@pytest.mark.parametrize("shape", ["point", "gauss"])
def test_longitudes_are_angles(shape: str) -> None:
    toys = [dataset([source(shape, lon_0=lon)]) for lon in (359.93, -0.07, 719.93)]
    for toy in toys[1:]:
        assert_allclose(toy.npred().data, toys[0].npred().data, rtol=1e-8)
        assert_allclose(statistic(toy), toys[0].stat_sum(), rtol=1e-11)


@pytest.mark.parametrize("shape", ["point", "gauss", "elongated"])
def test_frame_of_the_model_doesnt_matter(shape: str) -> None:
    from astropy.coordinates import SkyCoord

    model = source(shape)
    turned = model.copy(name="turned")
    where = SkyCoord(0.13 * u.deg, -0.08 * u.deg, frame="galactic")
    turned.spatial_model.frame = "icrs"
    turned.spatial_model.lon_0.quantity, turned.spatial_model.lat_0.quantity = where.icrs.ra, where.icrs.dec
    if shape == "elongated":
        north = SkyCoord(where.l, where.b + 0.001 * u.deg, frame="galactic")
        angle = where.icrs.position_angle(north.icrs)
        phi = (turned.spatial_model.phi.quantity + angle).to_value("deg")
        turned.spatial_model.phi.value = (phi + 180) % 360 - 180
    assert_allclose(signal(turned), signal(model), rtol=1e-3, atol=1e-4)
    toy = dataset([turned, background()])
    likelihood = bind([toy])
    assert_allclose(likelihood.stat(), toy.stat_sum(), rtol=1e-11)


def test_equatorial_map() -> None:
    from villard.maps import WcsGeom

    geom = WcsGeom.create(skydir=(83.63, 22.01), frame="icrs", proj="TAN", binsz=0.1, width=4)
    from astropy.coordinates import SkyCoord

    where = SkyCoord(83.7 * u.deg, 22.1 * u.deg).galactic
    counts = {}
    for frame, lon, lat in (("icrs", 83.7, 22.1), ("galactic", where.l.deg, where.b.deg)):
        spatial = PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame=frame)
        counts[frame] = signal(SkyModel(spectrum(), spatial), geom=geom)
    assert_allclose(counts["icrs"], counts["galactic"], rtol=1e-6, atol=1e-8)
    y, x = np.indices(geom.data_shape)
    total = counts["icrs"][0].sum()
    x_0, y_0 = (float(np.ravel(v)[0]) for v in geom.skydir_to_pix(where))
    assert_allclose([(counts["icrs"][0] * c).sum() / total for c in (x, y)], [x_0, y_0], atol=0.02)


# Responses


def test_switches_of_the_response() -> None:
    model = source("gauss")
    switched = {name: model.copy(name=name) for name in ("exposure", "psf", "edisp")}
    for name, each in switched.items():
        each.apply_irf[name] = False
    toy = dataset([model], seed=None)
    bare = dataset(seed=None, psf=None)
    bare_energy = dataset(seed=None)
    bare_energy.edisp = None
    counts = {name: toy.npred_signal(model_names=None).data for name in ("all",)}
    for name, each in switched.items():
        toy.models = [each]
        counts[name] = toy.npred_signal().data
    bare.models = bare_energy.models = [model]
    assert_allclose(counts["psf"], bare.npred_signal().data, rtol=1e-9)
    assert_allclose(counts["edisp"], bare_energy.npred_signal().data, rtol=1e-9)
    assert_allclose(
        counts["exposure"].sum(),
        flux(TRUE) @ toy.edisp.get_edisp_kernel(energy_axis=AXIS).pdf_matrix.sum(axis=1),
        rtol=1e-3,
    )


@pytest.mark.parametrize("shape", ["point", "gauss"])
def test_without_psf(shape: str) -> None:
    share = signal(source(shape), psf=None)[0] / (flux()[0] * AREA_TIME)
    if shape == "gauss":
        expected = gauss_image(0.25, 0.13, -0.08)
        assert_allclose(share, expected, atol=5e-3 * expected.max())
    else:
        assert_allclose(share.sum(), 1, rtol=1e-9)
        assert np.sum(share > 1e-6) <= 9


# Errors


def test_exposure_is_needed() -> None:
    toy = dataset(seed=None)
    model = source()
    measurement = replace(toy.measurement(), exposure=None)
    with pytest.raises(DataError, match="exposure"):
        predict(measurement, [model])
    without = MapDataset(
        counts=toy.counts, background=toy.background, models=[model, background()], name="cube"
    )
    with pytest.raises(DataError, match=r"cube.*exposure"):
        bind([without])
    without.models = [background()]
    assert_allclose(statistic(without), without.stat_sum())


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_exposure_must_be_positive(bad: float) -> None:
    toy = dataset([source()], seed=None)
    with pytest.raises(DataError, match="exposure"):
        toy.exposure = WcsNDMap(toy.exposure.geom, data=np.full(toy.exposure.data.shape, bad), unit="cm2 s")
    measurement = toy.measurement()
    measurement.exposure.data[1, 2, 3] = bad
    with pytest.raises(DataError, match="exposure has 1 negative or non-finite values"):
        predict(measurement, toy.models)


def test_psf_must_cover_all_energies() -> None:
    toy = dataset([source()], seed=None)
    toy.psf.psf_map.data[2] = 0
    with pytest.raises(DataError, match="PSF doesn't cover 1 of 4 true energy bins"):
        bind([toy])
    # Where nothing is seen it needn't.
    toy.exposure.data[2] = 0
    assert np.isfinite(statistic(toy))


def test_psf_of_other_energies() -> None:
    toy = dataset([source()], seed=None)
    short = MapAxis.from_energy_bounds("0.7 TeV", "3 TeV", nbin=2, name="energy_true")
    toy.psf = PSFMap.from_gauss(short, sigma=0.15 * u.deg)
    with pytest.raises(DataError, match="PSF doesn't cover"):
        bind([toy])
    finer = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=20, name="energy_true")
    toy.psf = PSFMap.from_gauss(finer, sigma=0.15 * u.deg)
    assert_allclose(
        toy.npred_signal().data, dataset([source()], seed=None).npred_signal().data, rtol=1e-2, atol=0.02
    )


def test_source_without_shape() -> None:
    with pytest.raises(ModelError, match="spatial_model"):
        bind([dataset([SkyModel(spectrum(), name="bare")], seed=None)])


def test_exposure_on_other_pixels() -> None:
    fine = dataset([source("gauss")], seed=None)
    coarse = fine.copy(name="cube")
    coarse.models = fine.models
    geom = image((4.0, 4.0), binsz=0.4).to_cube([TRUE])
    x, _ = (np.asarray(v) for v in IMAGE.skydir_to_pix(geom.to_image().center_skydir))
    columns = np.arange(geom.data_shape[-1]) - (geom.data_shape[-1] - 1) / 2
    energies = np.arange(TRUE.nbin)[:, None, None]
    coarse.exposure = cube(AREA_TIME * (1 + 0.03 * (4 * columns + x) - 0.01 * energies), geom, "cm2 s")
    assert_allclose(coarse.npred_signal().data, fine.npred_signal().data, rtol=1e-3, atol=1e-4)
    assert isinstance(coarse.models[0].spatial_model, GaussianSpatialModel)
