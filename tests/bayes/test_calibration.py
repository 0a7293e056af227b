"""Ranks of true values are uniform, and uneven where the model of the posterior is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from villard.bayes import Mixture, Posterior, simulation_based_calibration
from villard.bayes.calibration import rank_of
from villard.exceptions import DataError, ParameterError

OPTIONS: dict[str, Any] = {"n_samples": 1000, "n_adapt": 400, "check_prior": False}


def normal(t: Any, sigma: float = 1.0) -> Any:
    return np.exp(-0.5 * (t / sigma) ** 2) / np.sqrt(2 * np.pi) / sigma


def simulate(rng: np.random.Generator, width: float = 1.0) -> tuple[dict[str, float], Mixture]:
    share, (b, c) = rng.random(), rng.dirichlet([1, 1])
    which = rng.choice(3, 64, p=[share, (1 - share) * b, (1 - share) * c])
    x = rng.normal(np.array([0, 3, 6])[which], 1)
    # The model may think that what lies at 3 is wider than it is.
    parts = {"a": normal(x), "rest": {"b": normal(x - 3, width), "c": normal(x - 6)}}
    return {"a": share, "b": b, "c": c}, Mixture(parts)


def test_ranks_are_uniform() -> None:
    result = simulation_based_calibration(simulate, 80, random_state=1, **OPTIONS)
    assert result.ranks.shape == (80, 3)
    assert all(p > 1e-3 for p in result.p_values.values()), str(result)
    assert np.all(np.abs(result.pulls.mean(axis=0)) < 0.5)
    assert str(result).startswith("Calibration with 80 data sets\na ")
    figure = result.plot()
    assert len(figure.axes) == 3


def test_a_wrong_model_is_noticed() -> None:
    result = simulation_based_calibration(lambda rng: simulate(rng, 3.0), 60, random_state=1, **OPTIONS)
    assert min(result.p_values.values()) < 1e-3


def test_a_folder_of_another_study(tmp_path: Path) -> None:
    first = simulation_based_calibration(simulate, 3, folder=tmp_path, **OPTIONS)
    again = simulation_based_calibration(simulate, 3, folder=tmp_path, **OPTIONS)
    np.testing.assert_array_equal(first.ranks, again.ranks)
    with pytest.raises(DataError, match="holds a piece of other work"):
        simulation_based_calibration(simulate, 3, folder=tmp_path, **OPTIONS | {"n_samples": 500})
    with pytest.raises(DataError, match="holds a piece of other work"):
        simulation_based_calibration(lambda rng: simulate(rng, 2.0), 3, folder=tmp_path, **OPTIONS)


def test_ranks_among_equal_values_and_bad_number() -> None:
    posterior = Posterior(["x"], [[1.0], [1.0], [2.0], [2.0]])
    rng = np.random.default_rng(0)
    ranks = [rank_of(posterior, "x", 2.0, rng) for _ in range(400)]
    assert min(ranks) > 0.5
    assert np.mean(ranks) == pytest.approx(0.75, abs=0.03)
    with pytest.raises(ParameterError, match="expected a positive number"):
        simulation_based_calibration(simulate, 0)
    with pytest.raises(ParameterError, match="must return true values by name and a posterior"):
        simulation_based_calibration(lambda rng: rng.random(), 1)  # type: ignore[arg-type, return-value]
