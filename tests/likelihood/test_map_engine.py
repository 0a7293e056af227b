"""Statistic, gradient and Hessian of sources on maps, against sums over all bins and differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_toys import Toy
from map_engine_toys import SHAPES, background, dataset, onoff, source, spectrum, statistic
from numpy.testing import assert_allclose

from villard._jax import jax, jnp
from villard.likelihood import Likelihood, bind
from villard.likelihood.statistics import STATISTICS
from villard.modeling.models import ConstantSpatialModel, SkyModel


def isotropic() -> SkyModel:
    return SkyModel(spectrum(amplitude=1e-12), ConstantSpatialModel(), name="isotropic")


def several() -> list[SkyModel]:
    """Three sources of one class and two of another."""
    places = [(0.31, 0.12), (-0.42, 0.33), (0.24, -0.53)]
    points = [source("point", f"p{i}", lon_0=x, lat_0=y) for i, (x, y) in enumerate(places)]
    gausses = [
        source("gauss", f"g{i}", lon_0=y, lat_0=x, sigma=0.2 + 0.1 * i) for i, (x, y) in enumerate(places[:2])
    ]
    return [*points, *gausses]


def mixture() -> list[SkyModel]:
    """One source of each binding class, and a background; some parameters are shared."""
    shapes = {"a": "gauss", "b": "point", "c": "disk", "d": "gauss"}
    frozen, norm, spectral, shape = (source(kind, name) for name, kind in shapes.items())
    frozen.freeze()
    for model in (norm, spectral):
        model.freeze("spatial")
    norm.spectral_model.index.frozen = True
    shape.spatial_model.lon_0.value, shape.spatial_model.lat_0.value = -0.4, 0.31
    shape.spatial_model.sigma = shape.spatial_model.lat_0
    shape.spectral_model.index = spectral.spectral_model.index
    return [frozen, norm, spectral, shape, isotropic(), background()]


def linked() -> list[SkyModel]:
    """Two sources at one place with one index, one as wide as the other's latitude is high."""
    first, second = source("gauss", "first", lat_0=0.31), source("point", "second")
    second.spatial_model.lon_0 = first.spatial_model.lon_0
    second.spectral_model.index = first.spectral_model.index
    first.spatial_model.sigma = first.spatial_model.lat_0
    return [first, second]


MIXTURES: dict[str, Any] = {
    **{shape: lambda shape=shape: [source(shape), background()] for shape in SHAPES},
    "several": several,
    "mixture": mixture,
    "linked": linked,
}


def exact(of: Any) -> Likelihood:
    """The likelihood with the PSF around the very positions of point sources."""
    return bind([Toy(replace(of.measurement(), psf_method="exact"), of.models)])


def difference(function: Any, theta: Any, step: float = 1e-4) -> Any:
    """Central differences of fourth order along each parameter, which comes first."""
    result = []
    for i in range(len(theta)):
        unit = step * (np.arange(len(theta)) == i)
        far, near = (np.asarray(function(theta + k * unit)) - function(theta - k * unit) for k in (2, 1))
        result.append((8 * near - far) / (12 * step))
    return np.array(result)


def check_gradient(likelihood: Likelihood) -> None:
    theta = likelihood.theta
    _, gradient = likelihood.value_and_gradient(theta)
    slope = difference(likelihood.stat, theta)
    assert_allclose(slope, gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())


def check_hessian(likelihood: Likelihood) -> None:
    theta = likelihood.theta
    hessian = likelihood.hessian(theta)
    scale = np.sqrt(np.abs(np.diag(hessian)))
    norm = np.outer(scale, scale)
    slopes = difference(lambda t: likelihood.value_and_gradient(t)[1], theta)
    assert_allclose(slopes / norm, hessian / norm, atol=2e-5)
    assert_allclose(hessian / norm, hessian.T / norm, atol=1e-9)


@pytest.mark.parametrize("name", MIXTURES)
def test_value_and_gradient(name: str) -> None:
    """The statistic of the compressed bins is the sum over all, whichever parameters are free."""
    toy = dataset(MIXTURES[name]())
    likelihood = bind([toy])
    free = likelihood.stat()
    assert_allclose(free, toy.stat_sum(), rtol=1e-11)
    assert_allclose(likelihood.npred()[0].sum(), toy.npred().data.sum(), rtol=1e-11)
    check_gradient(likelihood)
    predicted = toy.npred().data.copy()
    toy.models.freeze()
    assert_allclose(toy.npred().data, predicted, rtol=1e-6, atol=1e-7)
    assert_allclose(toy.stat_sum(), free, rtol=1e-7)
    assert_allclose(statistic(toy), toy.stat_sum(), rtol=1e-11)


@pytest.mark.parametrize("name", ["point", "elongated", "shell", "mixture"])
def test_hessian(name: str) -> None:
    check_hessian(bind([dataset(MIXTURES[name]())]))


def test_derivatives_with_the_exact_psf() -> None:
    likelihood = exact(dataset(MIXTURES["point"]()))
    check_gradient(likelihood)
    check_hessian(likelihood)


def test_hessian_is_that_of_automatic_differentiation() -> None:
    toy = dataset(MIXTURES["elongated"]())
    likelihood = bind([toy])
    kernels, data = likelihood._kernels, likelihood._device_data

    def plain(theta: Any) -> Any:
        (mu,), block = kernels._npred(theta, data), data["blocks"][0]
        return jnp.sum(jnp.where(block["mask"], STATISTICS["cash"].value(mu, block["data"]), 0.0))

    theta = likelihood.theta
    assert_allclose(plain(theta), likelihood.stat(), rtol=1e-12)
    hessian = likelihood.hessian()
    norm = np.sqrt(np.outer(np.diag(hessian), np.diag(hessian)))
    assert_allclose(jax.jit(jax.hessian(plain))(theta) / norm, hessian / norm, atol=1e-9)


def test_cstat() -> None:
    toy = dataset(mixture(), stat_type="cstat")
    likelihood = bind([toy])
    assert_allclose(likelihood.stat(), toy.stat_sum(), rtol=1e-11)
    check_gradient(likelihood)


def test_wstat() -> None:
    toy = onoff([source("gauss"), source("point", lon_0=-0.31)])
    assert np.any((toy.counts.data == 0) & (toy.counts_off.data > 0))
    assert np.any((toy.counts.data > 0) & (toy.counts_off.data == 0))
    likelihood = bind([toy])
    assert_allclose(likelihood.stat(), toy.stat_sum(), rtol=1e-11)
    check_gradient(likelihood)


def test_without_responses() -> None:
    toy = dataset([source("gauss"), source("point", lon_0=-0.31)], psf=None, edisp=False)
    likelihood = bind([toy])
    assert_allclose(likelihood.stat(), toy.stat_sum(), rtol=1e-11)
    check_gradient(likelihood)


def test_masks_are_respected() -> None:
    toy = dataset(mixture())
    whole = statistic(toy)
    toy.mask_fit = toy.counts.geom.energy_mask(energy_min="2 TeV")
    toy.mask_fit.data[:, :3] = False
    part = toy.stat_array()[toy.mask_fit.data].sum()
    assert_allclose(statistic(toy), part, rtol=1e-11)
    assert abs(part) < abs(whole)
    # What counts there are outside doesn't matter.
    toy.counts.data[~toy.mask_fit.data] = 1000
    assert_allclose(statistic(toy), part, rtol=1e-11)


def test_kept_bins_are_fewer() -> None:
    from villard.likelihood.binding import bind_models

    toy = dataset(mixture())
    measurement = toy.measurement()
    packed, full = (bind_models([measurement], toy.models, all_bins=kept) for kept in (False, True))
    assert packed.blocks[0].n_columns < full.blocks[0].n_columns


def test_gradient_is_that_of_the_datasets_statistic() -> None:
    """The public statistic goes through other code: all bins, numpy."""
    toy = dataset([source("gauss", sigma=0.17), background()])
    likelihood = bind([toy])

    def public(theta: Any) -> float:
        for parameter, value in zip(likelihood.parameters, likelihood.to_values(theta), strict=True):
            parameter.value = value
        return toy.stat_sum()

    theta = likelihood.theta.copy()
    _, gradient = likelihood.value_and_gradient(theta)
    assert_allclose(difference(public, theta), gradient, rtol=1e-5, atol=1e-3)


def test_random_counts_share_compiled_functions() -> None:
    """Kept bins are padded, so that their number hardly ever differs from one simulation to the next."""
    model = source("gauss")
    toys = [dataset([model, background()], seed=seed) for seed in range(20)]
    bound = [bind([toy]) for toy in toys]
    kept = {len(each.binding.measurements[0].bins) for each in bound}
    assert len(kept) > 10
    assert len({each.binding.blocks[0].n_columns for each in bound}) <= 4
    assert len({id(each._kernels) for each in bound}) == 1
