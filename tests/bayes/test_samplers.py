"""Each sampler on one mixture: the same posterior and evidence; checkpoints; bad input."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

from villard.bayes import GridLeaf, Mixture, ParameterGrid, Posterior, sample
from villard.bayes.samplers import SAMPLERS
from villard.exceptions import CheckpointError, FitError, FitSetupError, ParameterError
from villard.modeling.prior import UniformPrior

PACKAGES = {"nuts": "blackjax", "nss": "blackjax", "importance": "numpy"}
OPTIONS: dict[str, dict[str, Any]] = {
    "dynesty": {"nlive": 150, "dlogz": 0.5},
    "ultranest": {"nlive": 100, "min_ess": 100},
    "nautilus": {"nlive": 200, "n_networks": 1, "n_eff": 1000},
    "nuts": {"n_warmup": 200, "n_samples": 400, "chains": 2},
    "nss": {"nlive": 120, "num_delete": 30, "inner_steps": 5, "dlogz": 0.3},
    "emcee": {"walkers": 16, "n_burn": 100, "n_samples": 300},
    "importance": {"n_samples": 4000, "n_adapt": 1000},
}
INSTALLED = [s for s in SAMPLERS if importlib.util.find_spec(PACKAGES.get(s, s)) is not None]


def make_mixture(seed: int = 0) -> Mixture:
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(128) < 0.3, rng.normal(0, 1, 128), rng.normal(3, 1, 128))

    def normal(t: Any) -> Any:
        return np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi)

    return Mixture({"left": normal(x), "right": {"b": normal(x - 3), "c": normal((x - 1) / 4) / 4}})


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return make_mixture()


@pytest.fixture(scope="module")
def exact(mixture: Mixture) -> tuple[float, np.ndarray, np.ndarray]:
    """Evidence, means and standard deviations by integration over a grid."""
    w = (np.arange(300) + 0.5) / 300
    theta = np.stack(np.meshgrid(w, w), axis=-1).reshape(-1, 2)
    log = mixture.log_posterior(theta)
    p = np.exp(log - logsumexp(log))
    mean = p @ theta
    return float(logsumexp(log) - np.log(len(theta))), mean, np.sqrt(p @ (theta - mean) ** 2)


@pytest.mark.parametrize("sampler", INSTALLED)
def test_posterior_and_evidence(mixture: Mixture, exact: Any, sampler: str) -> None:
    log_z, mean, sd = exact
    posterior = mixture.sample(sampler, random_state=2, progress=False, **OPTIONS[sampler])
    names = ["left", "b"]
    size = max(posterior.ess, 20)
    for name, m, s in zip(names, mean, sd, strict=True):
        assert abs(posterior.mean[name] - m) < 5 * s / np.sqrt(size), name
        assert posterior.sd[name] == pytest.approx(s, rel=5 / np.sqrt(2 * size))
    assert abs(posterior.log_evidence - log_z) < 4 * posterior.log_evidence_error + 0.02
    assert posterior.n_calls > 0
    assert posterior.sampler == sampler


@pytest.mark.parametrize("sampler", [s for s in ("dynesty", "emcee", "importance") if s in INSTALLED])
def test_one_seed_one_result(mixture: Mixture, sampler: str) -> None:
    a, b = (mixture.sample(sampler, random_state=5, **OPTIONS[sampler]) for _ in range(2))
    np.testing.assert_array_equal(a.samples, b.samples)
    assert a.log_evidence == b.log_evidence


class Killed(BaseException):
    """What isn't caught on the way."""


@pytest.mark.parametrize("sampler", [s for s in ("nuts", "emcee", "importance") if s in INSTALLED])
def test_a_killed_run_goes_on(
    mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    from villard.bayes.samplers.checkpoint import Checkpoint

    whole = mixture.sample(sampler, random_state=7, **OPTIONS[sampler])
    saves = []
    save = Checkpoint.save

    def kill(self: Checkpoint, state: Any) -> None:
        save(self, state)
        saves.append(1)
        if len(saves) == 3:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", kill)
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        mixture.sample(sampler, random_state=7, checkpoint=folder, **OPTIONS[sampler])
    resumed = mixture.sample(sampler, random_state=7, checkpoint=folder, **OPTIONS[sampler])
    assert len(saves) > 3
    np.testing.assert_array_equal(resumed.samples, whole.samples)
    # A finished run is read, not run again.
    n = len(saves)
    again = mixture.sample(sampler, random_state=7, checkpoint=folder, **OPTIONS[sampler])
    assert len(saves) == n
    np.testing.assert_array_equal(again.samples, whole.samples)


@pytest.mark.skipif("dynesty" not in INSTALLED, reason="dynesty isn't installed")
def test_a_killed_nested_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixture: Mixture, exact: Any
) -> None:
    options = OPTIONS["dynesty"] | {"checkpoint_every": 0.02}
    was_killed: list[bool] = []
    whole = mixture.sample("dynesty", random_state=3, **options)
    calls = []
    likelihood = Mixture.log_likelihood

    def counted(self: Mixture, theta: Any) -> Any:
        calls.append(len(theta))
        if sum(calls) > 5000 and not was_killed:
            was_killed.append(True)
            raise Killed
        return likelihood(self, theta)

    monkeypatch.setattr(Mixture, "log_likelihood", counted)
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        mixture.sample("dynesty", random_state=3, checkpoint=folder, **options)
    assert (folder / "dynesty.pickle").exists()
    posterior = mixture.sample("dynesty", random_state=3, checkpoint=folder, **options)
    # The calls of before the kill count in the result, but weren't done again.
    assert sum(calls) < 5000 + posterior.n_calls
    np.testing.assert_array_equal(posterior.samples, whole.samples)
    assert posterior.log_evidence == whole.log_evidence


def test_a_checkpoint_of_another_problem(mixture: Mixture, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    mixture.sample("importance", random_state=1, checkpoint=folder, **OPTIONS["importance"])
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(CheckpointError, match="belongs to another problem"):
        make_mixture(1).sample("importance", random_state=1, checkpoint=folder, **OPTIONS["importance"])
    with pytest.raises(CheckpointError, match="other settings"):
        mixture.sample("importance", random_state=1, checkpoint=folder, n_samples=5)
    with pytest.raises(CheckpointError, match="another random_state"):
        mixture.sample("importance", random_state=2, checkpoint=folder, **OPTIONS["importance"])
    with pytest.raises(CheckpointError, match="another sampler"):
        mixture.sample("emcee", random_state=1, checkpoint=folder)
    assert before == {p.name: p.read_bytes() for p in folder.iterdir()}
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="expected a folder"):
        mixture.sample("importance", checkpoint=tmp_path / "file")
    with pytest.raises(CheckpointError, match="holds files, but no run"):
        mixture.sample("importance", checkpoint=tmp_path)


def test_seeds_belong_to_a_checkpoint(mixture: Mixture, tmp_path: Path) -> None:
    folder, options = tmp_path / "run", OPTIONS["importance"]
    first = mixture.sample("importance", random_state=np.int64(3), checkpoint=folder, **options)
    same = mixture.sample("importance", random_state=3, checkpoint=folder, **options)
    np.testing.assert_array_equal(first.samples, same.samples)
    with pytest.raises(CheckpointError, match="another random_state"):
        mixture.sample("importance", random_state=np.int64(4), checkpoint=folder, **options)
    drawn = tmp_path / "drawn"
    for _ in range(2):
        rng = np.random.default_rng(5)
        mixture.sample("importance", random_state=rng, checkpoint=drawn, **options)
    other = np.random.default_rng(6)
    with pytest.raises(CheckpointError, match="another random_state"):
        mixture.sample("importance", random_state=other, checkpoint=drawn, **options)


def test_code_belongs_to_a_problem() -> None:
    """Models that differ in nothing but their formula are different problems."""
    from villard.bayes import DatasetsPosterior
    from villard.data import demo_path
    from villard.datasets import Datasets
    from villard.modeling.models import PowerLawSpectralModel, SkyModel

    class Shifted(PowerLawSpectralModel):
        @staticmethod
        def evaluate(energy: Any, index: Any, amplitude: Any, reference: Any) -> Any:
            return amplitude * ((energy + 1) / reference) ** -index

    def make(kind: Any) -> str:
        datasets = Datasets.read(demo_path("datasets.yaml"))
        datasets.models = [SkyModel(kind(), name="source")]
        for parameter in datasets.models.parameters.free_parameters:
            parameter.prior = UniformPrior(min=0, max=3)
        return DatasetsPosterior(datasets).fingerprint

    assert make(PowerLawSpectralModel) == make(PowerLawSpectralModel)
    assert make(Shifted) != make(PowerLawSpectralModel)


def test_a_failed_start_leaves_the_folder_to_others(tmp_path: Path) -> None:
    table = np.array([np.zeros(5), np.ones(5)])
    grid = ParameterGrid([1.0, 2.0], scale="lin")

    def make(low: float) -> Mixture:
        leaf = GridLeaf(table, {"m": grid})
        return Mixture({"a": leaf}, priors={"m": UniformPrior(min=low, max=low + 1)})

    with pytest.raises(FitError, match="the prior excludes the data"):
        make(0.5).sample("importance", random_state=1, checkpoint=tmp_path, **OPTIONS["importance"])
    with pytest.raises(FitSetupError, match="expected as random_state"):
        make(1.5).sample("importance", random_state="one", checkpoint=tmp_path, **OPTIONS["importance"])
    assert not list(tmp_path.iterdir())
    make(1.5).sample("importance", random_state=1, checkpoint=tmp_path, **OPTIONS["importance"])


def test_a_damaged_checkpoint(mixture: Mixture, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    mixture.sample("importance", random_state=1, checkpoint=folder, **OPTIONS["importance"])
    (folder / "posterior.fits").unlink()
    (folder / "state.pickle").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="can't read"):
        mixture.sample("importance", random_state=1, checkpoint=folder, **OPTIONS["importance"])


@pytest.mark.parametrize(
    ("sampler", "name"),
    [("dynesty", "dynesty.pickle"), ("nautilus", "nautilus.hdf5"), ("ultranest", "ultranest.tsv")],
)
def test_a_damaged_file_of_a_sampler(mixture: Mixture, tmp_path: Path, sampler: str, name: str) -> None:
    from villard.bayes.samplers import _settings
    from villard.bayes.samplers.checkpoint import Checkpoint

    module = pytest.importorskip(f"villard.bayes.samplers.{sampler}")
    if sampler not in INSTALLED:
        pytest.skip(f"{sampler} isn't installed")
    settings = _settings(sampler, module.DEFAULTS, OPTIONS[sampler]) | {"refine_evidence": True}
    kept = Checkpoint(tmp_path / "run", mixture, sampler, settings, 1)
    (kept.folder / name).write_bytes(b"nothing of this kind\n")
    with pytest.raises(CheckpointError, match=f"can't read .*{name}"):
        mixture.sample(sampler, random_state=1, checkpoint=kept.folder, **OPTIONS[sampler])


@pytest.mark.skipif("ultranest" not in INSTALLED, reason="ultranest isn't installed")
def test_points_of_ultranest_outlive_a_kill(
    mixture: Mixture, exact: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    likelihood = Mixture.log_likelihood

    def counted(self: Mixture, theta: Any) -> Any:
        calls.append(len(theta))
        if len(calls) == 40:
            raise Killed
        return likelihood(self, theta)

    monkeypatch.setattr(Mixture, "log_likelihood", counted)
    options = OPTIONS["ultranest"] | {"random_state": 3, "checkpoint": tmp_path / "run"}
    with pytest.raises(Killed):
        mixture.sample("ultranest", **options)
    path = tmp_path / "run" / "ultranest.tsv"
    lines = path.read_text().splitlines()
    # A kill may come in the middle of a line.
    path.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:30])
    posterior = mixture.sample("ultranest", **options)
    assert abs(posterior.log_evidence - exact[0]) < 4 * posterior.log_evidence_error + 0.02
    assert set(lines[:-1]) <= set(path.read_text().splitlines())


@pytest.mark.parametrize(
    ("sampler", "option", "value"),
    [
        ("dynesty", "nlive", -3),
        ("dynesty", "nlive", 2),
        ("dynesty", "nlive", "many"),
        ("dynesty", "dlogz", 0),
        ("dynesty", "dlogz", np.nan),
        ("dynesty", "sample", "random"),
        ("dynesty", "bound", "box"),
        ("nautilus", "nlive", 0),
        ("nautilus", "discard_exploration", "no"),
        ("ultranest", "max_ncalls", -1),
        ("nss", "num_delete", 500),
        ("nuts", "target_accept", 1.5),
        ("emcee", "walkers", 3),
        ("emcee", "batch", 0),
        ("importance", "n_samples", 2.5),
        ("importance", "n_samples", True),
    ],
)
def test_values_of_options(mixture: Mixture, sampler: str, option: str, value: Any) -> None:
    if sampler not in INSTALLED:
        pytest.skip(f"{sampler} isn't installed")
    with pytest.raises(FitSetupError, match=f"'{sampler}'.*{option}"):
        mixture.sample(sampler, random_state=1, **{option: value})


@pytest.mark.skipif("ultranest" not in INSTALLED, reason="ultranest isn't installed")
def test_likelihoods_of_zero_and_small_concentrations() -> None:
    """UltraNest takes no minus infinity; where a share is zero, Dirichlet densities may be infinite."""
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    mixture = Mixture({"a": x[0], "b": x[1]}, alpha=0.1)
    assert mixture.log_likelihood([1.0]) == -np.inf
    posterior = mixture.sample("ultranest", random_state=1, **OPTIONS["ultranest"])
    # E[w (1 - w)] of a Beta distribution.
    assert abs(posterior.log_evidence - np.log(0.05 / 1.2)) < 4 * posterior.log_evidence_error + 0.02
    ones = Mixture({"a": np.ones(3), "b": np.zeros(3)}, alpha=0.1)
    assert ones.log_likelihood([1.0]) == 0


def test_whole_numbers_in_powers_of_ten(mixture: Mixture) -> None:
    assert len(mixture.sample("importance", random_state=1, n_samples=1e3, n_adapt=5e2)) == 1000


def test_bad_requests(mixture: Mixture) -> None:
    with pytest.raises(FitSetupError, match=r"no sampler 'dynest'\. Did you mean 'dynesty'"):
        mixture.sample("dynest")
    with pytest.raises(FitSetupError, match="no option 'n_live'"):
        mixture.sample("dynesty", n_live=5)
    with pytest.raises(FitSetupError, match="expected datasets or a posterior"):
        sample("file.yaml")
    grid = GridLeaf(np.ones((2, 3)), {"m": ParameterGrid([1.0, 2.0])})
    if "nuts" in INSTALLED:
        with pytest.raises(ParameterError, match="nuts needs derivatives"):
            Mixture({"a": grid, "b": np.ones(3)}).sample("nuts")


def test_posterior_of_datasets_is_that_of_the_fit() -> None:
    from villard.data import demo_path
    from villard.datasets import Datasets
    from villard.modeling import Fit
    from villard.modeling.prior import GaussianPrior

    datasets = Datasets.read(demo_path("datasets.yaml"), demo_path("models.yaml"))
    free = datasets.models.parameters.free_parameters
    with pytest.raises(ParameterError, match="free parameters without a prior"):
        sample(datasets)
    free["beta"].prior = GaussianPrior(mu=0.1, sigma=0.03)
    result = Fit().run(datasets)
    assert result.success
    fitted = {p.name: (p.value, p.error) for p in free}
    for p in free:
        if p.prior is None:
            p.prior = UniformPrior(min=p.value - 6 * p.error, max=p.value + 6 * p.error)
    posterior = sample(datasets, "importance", random_state=1, **OPTIONS["importance"])
    assert free["beta"].prior is not None
    for name, (value, error) in fitted.items():
        assert abs(posterior.mean[name] - value) < 0.4 * error
        assert posterior.sd[name] == pytest.approx(error, rel=0.1)
    assert isinstance(posterior, Posterior)
