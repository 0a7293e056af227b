"""Binding: what is free changes how a likelihood is computed, never its value."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_toys import (
    CutoffSpectralModel,
    Toy,
    cutoff,
    edisp,
    log_parabola,
    measurement,
    power_law,
    two_lines,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from villard.exceptions import DataError, FitError, ModelError
from villard.likelihood import bind
from villard.likelihood.predict import predict

SOURCES = {"pl": power_law, "lp": log_parabola, "cutoff": cutoff, "two": two_lines}


def value(likelihood: Any, parameters: Any) -> float:
    """The statistic where the parameters are, whatever the order of the free ones."""
    return likelihood.stat(likelihood.to_theta([p.value for p in likelihood.parameters]))


@given(
    kinds=st.lists(st.sampled_from(sorted(SOURCES)), min_size=1, max_size=3),
    bits=st.integers(0, 2**12 - 1),
    shift=st.floats(-0.2, 0.2),
)
@settings(max_examples=6)
def test_freezing_leaves_the_statistic(kinds: list[str], bits: int, shift: float) -> None:
    models = [SOURCES[kind](f"{kind}-{i}") for i, kind in enumerate(kinds)]
    parameters = [p for model in models for p in model.parameters]
    datasets = [Toy(measurement("a"), models), Toy(measurement("b", n_bins=7, n_true=None, seed=3), models)]
    for p in parameters:
        p.frozen = p.name == "reference"
        p.value *= 1 + shift
    free = bind(datasets, models)
    expected, gradient = free.value_and_gradient()
    hessian = free.hessian()
    for i, p in enumerate(parameters):
        p.frozen = p.frozen or bool(bits >> i & 1)
    mixed = bind(datasets, models)
    assert_allclose(mixed.stat(), expected, rtol=1e-11)
    columns = [free.column(p) for p in mixed.parameters]
    assert_allclose(mixed.value_and_gradient()[1], gradient[columns], rtol=1e-8, atol=1e-8)
    assert_allclose(
        mixed.hessian(), hessian[np.ix_(columns, columns)], rtol=1e-8, atol=1e-9 * np.max(np.abs(hessian))
    )


def test_binding_classes() -> None:
    models = [power_law("constant"), power_law("norm"), power_law("spectral"), two_lines("two")]
    models[0].freeze()
    models[1].spectral_model.index.frozen = True
    models[3].spectral_model.first.frozen = True
    (block,) = bind([Toy(measurement(), models)], models).binding.blocks
    assert len(block.arrays["norms"]["index"]) == 1
    # Without a single amplitude a model is folded in every call, though it be linear.
    assert [len(group["index"]) for group in block.arrays["groups"]] == [1, 1]


def test_sources_of_one_class_are_stacked() -> None:
    models = [power_law(f"source-{i}", index=2 + 0.1 * i) for i in range(5)] + [log_parabola()]
    (block,) = bind([Toy(measurement(), models)], models).binding.blocks
    assert [len(group["index"]) for group in block.arrays["groups"]] == [5, 1]
    assert len(block.arrays["response"]) == 1


def test_datasets_of_different_shapes_are_padded() -> None:
    model = log_parabola()
    toys = [measurement(f"toy-{n}", n_bins=n, n_true=2 * n, seed=n) for n in (1, 5, 16, 17, 40)]
    alone = sum(bind([Toy(m)], [model]).stat() for m in toys)
    together = bind([Toy(m) for m in toys], [model])
    assert_allclose(together.stat(), alone, rtol=1e-12)
    for toy, npred in zip(toys, together.npred(), strict=True):
        assert_allclose(npred, predict(toy, [model])[toy.mask], rtol=1e-12)


def test_statistics_add() -> None:
    model = power_law()
    toys = [
        Toy(measurement(name, name, seed=i))
        for i, name in enumerate(("cash", "cstat", "wstat", "chi2", "distrib", "censored"))
    ]
    together = bind(toys, [model])
    parts = [bind([toy], [model]) for toy in toys]
    assert_allclose(together.stat(), sum(p.stat() for p in parts), rtol=1e-12)
    gradients = [p.value_and_gradient()[1] for p in parts]
    assert_allclose(together.value_and_gradient()[1], sum(gradients), rtol=1e-10)
    assert_allclose(together.hessian(), sum(p.hessian() for p in parts), rtol=1e-10)
    assert_allclose(together.fisher(), sum(p.fisher() for p in parts), rtol=1e-10)


@given(order=st.permutations(range(4)), models_order=st.permutations(range(3)))
@settings(max_examples=10)
def test_order_leaves_the_statistic(order: list[int], models_order: list[int]) -> None:
    models = [power_law("a"), log_parabola("b"), power_law("c", index=3, datasets_names=["t-1", "t-3"])]
    toys = [Toy(measurement(f"t-{i}", ("wstat", "cash")[i % 2], n_bins=5 + 4 * i, seed=i)) for i in range(4)]
    expected = bind(toys, models).stat()
    permuted = bind([toys[i] for i in order], [models[i] for i in models_order])
    assert_allclose(permuted.stat(), expected, rtol=1e-12)


@given(mask=st.lists(st.booleans(), min_size=12, max_size=12).filter(any))
@settings(max_examples=20)
def test_mask_only_removes_bins(mask: list[bool]) -> None:
    model, toy = log_parabola(), measurement()
    selected = np.array(mask)

    def stat(selection: Any) -> float:
        return bind([Toy(replace(toy, mask=selection))], [model]).stat()

    single = [stat(np.arange(12) == i) for i in np.flatnonzero(selected)]
    assert_allclose(stat(selected), sum(single), rtol=1e-12)


def test_data_outside_the_mask_may_be_nan() -> None:
    toy = measurement()
    counts = toy.data["counts"].copy()
    counts[0] = np.nan
    damaged = replace(toy, data={**toy.data, "counts": counts})
    models = [power_law()]
    assert bind([Toy(damaged)], models).stat() == bind([Toy(toy)], models).stat()
    assert np.all(np.isfinite(bind([Toy(damaged)], models).hessian()))
    with pytest.raises(DataError, match=r"'toy': counts has non-finite values in the fit range"):
        replace(damaged, mask=np.ones(12, dtype=bool))


def test_models_contribute_to_their_datasets() -> None:
    toys = [Toy(measurement("a")), Toy(measurement("b", seed=1))]
    everywhere, first = power_law("everywhere"), power_law("first", datasets_names="a")
    likelihood = bind(toys, [everywhere, first])
    both, one = likelihood.npred()
    mask = toys[0].measurement().mask
    assert_allclose(both, predict(toys[0].measurement(), [everywhere, first])[mask])
    assert_allclose(one, predict(toys[1].measurement(), [everywhere])[mask])
    with pytest.raises(ModelError, match=r"'lost'.*contributes to no dataset.*\['c'\].*\['a', 'b'\]"):
        bind(toys, [everywhere, power_law("lost", datasets_names=["c"])])


def test_apply_irf() -> None:
    toy = measurement(n_bins=12, n_true=None)
    energy = np.append(toy.energy_min, toy.energy_max[-1])
    toy = replace(toy, edisp=edisp(energy, energy))
    cases = [{}, {"exposure": False}, {"edisp": False}, {"exposure": False, "edisp": False}, {"psf": False}]
    models = [power_law(f"case-{i}", apply_irf=irf) for i, irf in enumerate(cases)]
    # Without exposure the flux itself is predicted.
    for model, irf in zip(models, cases, strict=True):
        model.spectral_model.amplitude.value *= 1.0 if irf.get("exposure", True) else 1e13
    flux = 3e-11 / 1.4 * (toy.energy_min**-1.4 - toy.energy_max**-1.4)
    expected = [
        (flux * toy.exposure) @ toy.edisp,
        (flux * 1e13) @ toy.edisp,
        flux * toy.exposure,
        flux * 1e13,
        (flux * toy.exposure) @ toy.edisp,
    ]
    for model, npred in zip(models, expected, strict=True):
        assert_allclose(predict(toy, [model]), npred, rtol=1e-12)
        assert_allclose(bind([Toy(toy)], [model]).npred()[0], npred[toy.mask], rtol=1e-12)
    assert_allclose(bind([Toy(toy)], models).npred()[0], sum(expected)[toy.mask], rtol=1e-12)
    with pytest.raises(ModelError, match="'toy': model 'case-2' can't switch energy dispersion off"):
        bind([Toy(measurement(n_true=20))], [models[2]])


def test_evaluating_changes_nothing() -> None:
    model, toy = log_parabola(), Toy(measurement())
    likelihood = bind([toy], [model])
    before = [(p.value, p.error, p.frozen) for p in model.parameters]
    first = likelihood.stat()
    likelihood.stat(likelihood.theta * 1.3)
    likelihood.hessian(likelihood.theta * 0.7)
    likelihood.minimize()
    likelihood.minimize_batch(np.tile(likelihood.theta, (3, 1)))
    assert likelihood.stat() == first
    assert [(p.value, p.error, p.frozen) for p in model.parameters] == before


def test_same_structure_compiles_nothing() -> None:
    """Other data, other values, other datasets of a like size: the compiled functions serve again."""

    def use(seed: int, n_bins: int) -> None:
        model = cutoff(index=2 + 0.1 * seed)
        likelihood = bind([Toy(measurement(seed=seed, n_bins=n_bins))], [model])
        likelihood.minimize()
        likelihood.minimize_batch(np.tile(likelihood.theta, (5 + seed, 1)))
        likelihood.stat()
        likelihood.fisher()
        likelihood.hessian()

    use(0, 12)
    calls = CutoffSpectralModel.calls
    use(1, 12)
    use(2, 11)
    # Drawing the data evaluates nothing of the user's model: what is counted are traces.
    assert CutoffSpectralModel.calls == calls


def test_graph_does_not_grow_with_the_number_of_sources() -> None:
    def traced(n: int) -> int:
        models = [cutoff(f"source-{i}") for i in range(n)]
        likelihood = bind([Toy(measurement())], models)
        before = CutoffSpectralModel.calls
        likelihood.hessian()
        return CutoffSpectralModel.calls - before

    few, many = traced(2), traced(7)
    assert few == many > 0


def test_names_must_be_unique() -> None:
    toys = [Toy(measurement("same")), Toy(measurement("same", seed=1))]
    with pytest.raises(DataError, match="Two datasets are called 'same'"):
        bind(toys, [power_law()])


def test_empty_fit_range() -> None:
    toy = measurement("dark")
    empty = replace(toy, mask=np.zeros(12, dtype=bool))
    with pytest.raises(FitError, match=r"'dark': the fit range is empty.*none of 12 bins"):
        bind([Toy(empty)], [power_law()]).check_free()


def test_no_free_parameter() -> None:
    model = power_law("crab")
    model.freeze()
    likelihood = bind([Toy(measurement())], [model])
    assert likelihood.n_free == 0
    assert_allclose(likelihood.stat(), bind([Toy(measurement())], [power_law()]).stat(), rtol=1e-12)
    with pytest.raises(FitError, match=r"No free parameter.*\['crab'\]"):
        likelihood.check_free()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exposure": np.ones(3)}, r"'toy': exposure must have shape \(20,\), found \(3,\)"),
        ({"exposure": np.full(20, np.nan)}, "'toy': exposure has 20 non-finite values"),
        ({"edisp": np.ones((3, 3))}, r"'toy': edisp must have shape \(20, 12\), found \(3, 3\)"),
        ({"edisp": None}, "the 20 true energy bins must be the 12 measured ones"),
        ({"background": np.ones(3)}, r"'toy': background must have shape \(12,\), found \(3,\)"),
        ({"data": {"counts": np.ones(3)}}, r"'toy': counts must have shape \(12,\), found \(3,\)"),
    ],
)
def test_bad_measurement(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(measurement(), **change)
