"""Posteriors of datasets with models: the likelihood of fits, with the priors of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.coordinates import Continuous, Coordinate, Space
from villard.bayes.posterior import Posterior
from villard.bayes.problem import Problem
from villard.exceptions import FitSetupError, ParameterError

__all__ = ["DatasetsPosterior", "sample"]

Array = NDArray[np.float64]


class DatasetsPosterior(Problem):
    """Posterior of the free parameters of models, given datasets.

    The likelihood is that of `~villard.modeling.Fit`: -2 ln L is the fit statistic without its priors. Where
    a statistic leaves out a constant of the data, as "cash" does, so does ln Z: its differences between
    models of the same data are right.

    Parameters
    ----------
    datasets : dataset, list of datasets, `~villard.datasets.Datasets` or region of interest
        Data with their models. Every free parameter needs a prior.
    name : str
        Name, for messages.

    Raises
    ------
    ParameterError
        If a free parameter has no prior, or one that can't be sampled.
    FitSetupError
        If there is nothing to fit.

    Examples
    --------
    >>> from villard.data import demo_path
    >>> from villard.datasets import Datasets
    >>> from villard.modeling.models import PowerLawSpectralModel, SkyModel
    >>> from villard.modeling.prior import LogUniformPrior, UniformPrior
    >>> datasets = Datasets.read(demo_path("datasets.yaml"))
    >>> model = SkyModel(PowerLawSpectralModel(amplitude="3e-11 cm-2 s-1 TeV-1"))
    >>> model.parameters["index"].prior = UniformPrior(min=1, max=4)
    >>> model.parameters["amplitude"].prior = LogUniformPrior(min=1e-12, max=1e-9)
    >>> datasets.models = [model]
    >>> problem = DatasetsPosterior(datasets)
    >>> problem.names
    ['index', 'amplitude']
    >>> problem.log_likelihood([2.5, 3e-11]) > problem.log_likelihood([1.5, 3e-11])
    True
    """

    def __init__(self, datasets: Any, name: str = "DatasetsPosterior") -> None:
        from villard.likelihood import bind
        from villard.modeling.fit import _as_list, _models_of

        self.name = name
        own = _as_list(getattr(datasets, "datasets", datasets))
        self.models = _models_of(own)
        with _without_priors(self.models):
            self.likelihood = bind(own, self.models)
        self.likelihood.check_free()
        self.parameters = list(self.likelihood.parameters)
        self.space = Space(self._coordinates())
        self.data = {"likelihood": self.likelihood.data, "factor": self.likelihood._factor}
        self.n_numbers = self.likelihood.binding.n_numbers

    def _coordinates(self) -> list[Coordinate]:
        lacking = [self.models.unique_name(p) for p in self.parameters if p.prior is None]
        if lacking:
            raise ParameterError(
                f"{self.name}: free parameters without a prior: {lacking}. Set for example "
                "parameter.prior = UniformPrior(min=..., max=...), or freeze them"
            )
        short = [p.name for p in self.parameters]
        result: list[Coordinate] = []
        for p in self.parameters:
            name = p.name if short.count(p.name) == 1 else self.models.unique_name(p)
            prior = p.prior.in_unit(p.unit, f"Parameter {name!r}")
            result.append(Continuous(name, prior, (p.min, p.max), p.unit.to_string()))
        return result

    @property
    def _key(self) -> Any:
        return ("datasets", self.likelihood.binding.key)

    def _make_log_likelihood(self) -> Callable[[Any, Any], Any]:
        from villard._jax import jax, jnp
        from villard.likelihood.statistics import STATISTICS

        kernels, n_free = self.likelihood._kernels, self.n_dim

        # Derivatives of the engine: exact, and cheaper than those through its inside.
        @jax.custom_vjp
        def stat(scaled: Any, data: Any) -> Any:
            # The value alone: samplers without derivatives needn't pay for them.
            full = kernels.parameters(scaled, data)
            total = data["constant"]
            for block, structure in zip(data["blocks"], kernels._blocks, strict=True):
                mu = kernels._signal(block, structure, full)
                value = STATISTICS[structure[0]].value(mu, block["data"])
                total = total + jnp.sum(jnp.where(block["mask"], value, 0.0))
            return total

        def forward(scaled: Any, data: Any) -> Any:
            packed = kernels.value_and_gradient(scaled, data)
            return packed[0], (packed[1 : 1 + n_free], data)

        def backward(kept: Any, cotangent: Any) -> Any:
            gradient, data = kept
            nothing = jax.tree_util.tree_map(_zero_tangent, data)
            return cotangent * gradient, nothing

        stat.defvjp(forward, backward)
        return lambda theta, data: -0.5 * stat(theta / data["factor"], data["likelihood"])


def _zero_tangent(x: Any) -> Any:
    """Derivative by data, of which there is none; that of whole numbers has a type of its own."""
    from villard._jax import jax, jnp

    if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(np.shape(x), dtype=jax.dtypes.float0)


@contextmanager
def _without_priors(models: Any) -> Iterator[None]:
    kept = [(p, p.prior) for p in models.parameters.unique_parameters]
    try:
        for p, _ in kept:
            p.prior = None
        yield
    finally:
        for p, prior in kept:
            p.prior = prior


def sample(problem: Any, sampler: str = "dynesty", **options: Any) -> Posterior:
    """Draw samples from a posterior.

    Parameters
    ----------
    problem : `Problem`, dataset, list of datasets, `~villard.datasets.Datasets` or region of interest
        What to sample: an `EventMixture`, or datasets whose models' free parameters have priors.
    sampler : {"dynesty", "ultranest", "nautilus", "nuts", "nss", "emcee", "importance"}
        Sampler; all but the last need a package of their own (an extra of villard).
    **options
        ``random_state``: seed. ``checkpoint``: folder in which the run is kept, and from which it goes on
        after a kill; a finished one is read. ``progress``: force the progress bar on or off.
        ``refine_evidence``: whether ln Z is also computed by importance sampling around the samples, with a
        fifth more calls, and replaces a less exact one (default). Others are those of the sampler, such as
        ``nlive`` and ``dlogz``: see ``docs/bayes.md``.

    Returns
    -------
    `Posterior`
        Samples with weights, and the evidence.

    Raises
    ------
    FitSetupError
        If the sampler or an option is unknown.
    FitError
        If the prior excludes the data.
    CheckpointError
        If the checkpoint is that of another problem, or damaged.
    MissingDependencyError
        If the sampler's package isn't installed; the message names the extra.
    ParameterError
        If a free parameter has no prior, or the sampler needs derivatives that there aren't.

    Examples
    --------
    >>> from villard.bayes import Mixture
    >>> mixture = Mixture({"a": [1.0] * 70 + [0.1] * 30, "b": [0.1] * 70 + [1.0] * 30})
    >>> posterior = sample(mixture, "importance", random_state=1)
    >>> round(posterior.mean["a"], 1)
    0.7
    """
    if not isinstance(problem, Problem):
        if problem is None or isinstance(problem, str | int | float):
            raise FitSetupError(f"sample: expected datasets or a posterior, found {problem!r}")
        problem = DatasetsPosterior(problem)
    return problem.sample(sampler, **options)
