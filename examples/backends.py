"""Backends: four ways to the same minimum

All backends minimise the same compiled likelihood, and the covariance is that of the exact Hessian at the
minimum, whoever found it. [What to use when](../docs/what_to_use_when.md) says which to choose.
"""

import time
from importlib.util import find_spec

from villard.data import demo_path
from villard.datasets import Datasets
from villard.modeling import Fit
from villard.modeling.models import Models

datasets = Datasets.read(demo_path("datasets.yaml"))


def fit_and_time(**settings):
    """Fit from the start values, twice: the second time nothing needs compiling."""
    for _ in range(2):
        datasets.models = Models.read(demo_path("models.yaml"))
        start = time.perf_counter()
        result = Fit(**settings).run(datasets)
        seconds = time.perf_counter() - start
    alpha = result.parameters["alpha"]
    print(f"{result.backend:>8} {result.method:<22} {result.success!s:>5} {result.nfev:>5} evaluations")
    print(f"         -2 ln L {result.total_stat:.5f}   alpha {alpha.value:.4f} ± {alpha.error:.4f}")
    print(f"         {1e3 * seconds:.1f} ms")
    return result


# %%
# ## The default
# Fisher scoring with exact derivatives.
fit_and_time(backend="newton")

# %%
# ## MINUIT
# The `iminuit.Minuit` object is on the result; its parameters are scaled to be of order one.
result = fit_and_time(backend="minuit", optimize_opts={"strategy": 1, "tol": 0.1})
print(result.minuit.fmin)

# %%
# ## scipy
# Methods get gradient and Hessian where they take them.
for method in ("L-BFGS-B", "trust-exact", "Nelder-Mead"):
    fit_and_time(backend="scipy", optimize_opts={"method": method})

# %%
# Global optimisers need limits for every free parameter. (A narrow range keeps this example short.)
datasets.models = Models.read(demo_path("models.yaml"))
for name, low, high in [("amplitude", 1e-11, 1e-10), ("alpha", 1, 4), ("beta", -1, 1)]:
    parameter = datasets.models.parameters[name]
    parameter.min, parameter.max = low, high
fit = Fit(backend="scipy", optimize_opts={"method": "differential_evolution", "rng": 1})
print(fit.run(datasets).optimize_result)

# %%
# ## Sherpa
# An extra: `pip install 'villard[sherpa]'`.
if find_spec("sherpa"):
    fit_and_time(backend="sherpa", optimize_opts={"method": "simplex"})

# %%
# ## Trace
# With `store_trace=True`, the result has a table with a row per evaluation.
datasets.models = Models.read(demo_path("models.yaml"))
trace = Fit(store_trace=True).run(datasets).trace
trace.pprint_all()
