"""What can be asked of samples: numbers, prints, files, plots."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from villard.bayes import Posterior
from villard.bayes.statistics import autocorrelation_time, gelman_rubin
from villard.exceptions import FileFormatError, OverwriteError, ParameterError


def weighted_gamma(n: int = 40_000) -> Posterior:
    """Samples of a uniform distribution with the weights of a gamma distribution."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 20, n)
    samples = np.column_stack([x, 10**x])
    return Posterior(
        ["x", "y"],
        samples,
        stats.gamma(3).pdf(x),
        -x,
        -12.5,
        0.2,
        "test",
        123,
        4.5,
        {"rounds": 3},
        units={"x": "TeV"},
    )


def test_numbers_of_weighted_samples() -> None:
    posterior, gamma = weighted_gamma(), stats.gamma(3)
    assert posterior.mean["x"] == pytest.approx(3, rel=0.02)
    assert posterior.sd["x"] == pytest.approx(np.sqrt(3), rel=0.02)
    assert posterior.median["x"] == pytest.approx(gamma.median(), rel=0.02)
    np.testing.assert_allclose(posterior.interval("x", 0.9), gamma.interval(0.9), rtol=0.03)
    # The shortest interval has equal densities at its ends.
    low, high = posterior.hpd("x", 0.9)
    assert gamma.pdf(low) == pytest.approx(gamma.pdf(high), rel=0.3)
    assert gamma.cdf(high) - gamma.cdf(low) == pytest.approx(0.9, abs=0.01)
    assert high - low < np.diff(posterior.interval("x", 0.9))[0]
    assert posterior.ess == pytest.approx(
        40_000 / (20 * np.trapezoid(gamma.pdf(np.linspace(0, 20, 999)) ** 2, dx=20 / 998)), rel=0.05
    )
    equal = posterior.equal_weight_samples(5000, random_state=1)
    assert stats.kstest(equal[:, 0], gamma.cdf).pvalue > 1e-3
    assert posterior.best["x"] == posterior["x"].min()


def test_chains() -> None:
    rng = np.random.default_rng(0)
    chains = np.zeros((4, 5000))
    for i in range(1, 5000):
        chains[:, i] = 0.8 * chains[:, i - 1] + rng.normal(size=4)
    # Of an autoregressive process (1 + 0.8) / (1 - 0.8).
    assert autocorrelation_time(chains) == pytest.approx(9, rel=0.2)
    posterior = Posterior(["x"], chains.reshape(-1, 1), chains=4)
    assert posterior.ess == pytest.approx(20_000 / 9, rel=0.2)
    assert posterior.rhat["x"] < 1.01
    assert gelman_rubin(chains + 3 * np.arange(4)[:, None]) > 1.5


def test_print() -> None:
    posterior = Posterior(
        ["mass", "share"],
        [[1.0, 0.2], [2.0, 0.4]],
        units={"mass": "TeV"},
        log_evidence=-3,
        log_evidence_error=0.1,
        n_calls=7,
    )
    assert [line.rstrip() for line in str(posterior).splitlines()] == [
        " name unit mean  sd median low_68 high_68 hpd_low_95 hpd_high_95",
        "----- ---- ---- --- ------ ------ ------- ---------- -----------",
        " mass  TeV  1.5 0.5    1.5      1       2          1           2",
        "share       0.3 0.1    0.3    0.2     0.4        0.2         0.4",
        "ln Z = -3.000 ± 0.100",
        "2 samples, effective 2, 7 likelihood calls",
    ]


def test_files(tmp_path: Path) -> None:
    posterior = weighted_gamma(200)
    path = tmp_path / "posterior.fits"
    posterior.write(path)
    same = Posterior.read(path)
    np.testing.assert_array_equal(same.samples, posterior.samples)
    np.testing.assert_allclose(same.weights, posterior.weights, rtol=1e-14)
    assert str(same) == str(posterior)
    with pytest.raises(OverwriteError):
        posterior.write(path)
    (tmp_path / "other.fits").write_bytes(b"no FITS")
    with pytest.raises(FileFormatError):
        Posterior.read(tmp_path / "other.fits")
    from astropy.io import fits

    fits.PrimaryHDU(np.zeros(3)).writeto(tmp_path / "image.fits")
    with pytest.raises(FileFormatError, match="expected a posterior"):
        Posterior.read(tmp_path / "image.fits")


def test_bad_input() -> None:
    with pytest.raises(ParameterError, match="expected samples of 2 parameters"):
        Posterior(["a", "b"], np.zeros((3, 1)))
    with pytest.raises(ParameterError, match="weights, not negative"):
        Posterior(["a"], np.zeros((3, 1)), weights=[-1, 1, 1])
    posterior = weighted_gamma(50)
    with pytest.raises(ParameterError, match="no parameter 'z'"):
        posterior.interval("z")
    with pytest.raises(ParameterError, match="between 0 and 1"):
        posterior.hpd("x", 1.5)


@pytest.mark.skipif(importlib.util.find_spec("corner") is None, reason="corner isn't installed")
def test_questions_that_can_t_be_answered() -> None:
    posterior = Posterior(["x"], np.random.default_rng(0).normal(size=(50, 1)))
    with pytest.raises(ParameterError, match="probabilities between 0 and 1"):
        posterior.quantile("x", [0.5, 2])
    with pytest.raises(ParameterError, match="positive number of samples"):
        posterior.equal_weight_samples(0)
    pytest.importorskip("corner")
    with pytest.raises(ParameterError, match="x isn't positive"):
        posterior.plot_corner(log_axes=["x"])


def test_corner_plot_with_truths_and_log_axes() -> None:
    posterior = weighted_gamma(3000)
    figure = posterior.plot_corner(truths={"x": 3.0})
    axes = np.array(figure.axes).reshape(2, 2)
    # y spans many powers of ten.
    assert axes[1, 1].get_xscale() == "log"
    assert axes[1, 0].get_yscale() == "log"
    assert axes[1, 0].get_xscale() == "linear"
    assert axes[1, 0].get_xlabel() == "x [TeV]"
    with pytest.raises(ParameterError, match="no parameter 'q'"):
        posterior.plot_corner(truths={"q": 1})


def test_corner_plot_of_small_numbers_and_short_log_axes() -> None:
    rng = np.random.default_rng(3)
    samples = np.column_stack([4e-11 * (1 + 0.1 * rng.normal(size=2000)), 2 + 0.1 * rng.normal(size=2000)])
    figure = Posterior(["amplitude", "index"], samples).plot_corner(log_axes=["index"])
    figure.canvas.draw()
    axes = np.array(figure.axes).reshape(2, 2)
    assert "e-11" in axes[0, 0].get_title()
    texts = [label.get_text() for label in axes[1, 1].get_xticklabels()]
    assert 3 <= len(texts) <= 6
    assert "2" in texts
    assert not any("times" in text for text in texts)


@pytest.mark.parametrize(
    ("values", "ends"), [([1.8, 1.9, 2.0, 2.1], (1.85, 2.15)), ([2.0, 2.5], (1.75, 2.75))]
)
def test_corner_plot_of_few_values(values: list[float], ends: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    parts = np.array([1e-7, 1e-5, 1.0, 0.2] if len(values) == 4 else [1.0, 1e-3])
    # Each value is there, with next to no weight.
    samples = np.column_stack([np.tile(values, 500), rng.normal(size=500 * len(values))])
    posterior = Posterior(["grid", "x"], samples, np.tile(parts, 500))
    figure = posterior.plot_corner()
    assert np.array(figure.axes).reshape(2, 2)[0, 0].get_xlim() == pytest.approx(ends)


@pytest.mark.skipif(importlib.util.find_spec("arviz") is None, reason="arviz isn't installed")
def test_inference_data() -> None:
    data = weighted_gamma(3000).to_inference_data()
    assert set(data.posterior.data_vars) == {"x", "y"}
    assert data.posterior["x"].shape[0] == 1
    assert float(data.posterior["x"].mean()) == pytest.approx(3, rel=0.1)
    rng = np.random.default_rng(0)
    chains = Posterior(["a"], rng.normal(size=(400, 1)), log_likelihood=np.zeros(400), chains=4)
    assert chains.to_inference_data().posterior["a"].shape == (4, 100)
