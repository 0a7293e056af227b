"""PS maps: how probable are deviations between counts and model, in PSF-like circles around each pixel.

The method is P. Bruel's (A&A 656, A81, 2021): counts and predicted counts within a circle that shrinks with
energy make a spectrum per pixel, and -ln of its Poisson probability is compared with the distribution
of the same quantity under the model. That is the convolution of those of the single bins, so it is
exact, however few the counts are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, DataError

__all__ = [
    "PSMapSettings",
    "deviation_probability",
    "disk_kernel",
    "ps_map",
    "psf_like_radius",
    "rebin_spectra",
]

Array = NDArray[np.float64]

# Pixels whose histograms are convolved together: they should stay in the cache of one core.
_CHUNK = 64
# Below this probability -log10 isn't meaningful in double precision.
_SMALLEST = 1e-311


@dataclass(frozen=True)
class PSMapSettings:
    """Settings of `deviation_probability`, with the names and defaults of fermipy.

    Parameters
    ----------
    maxpoissoncount : float
        Bins with more predicted counts are taken as Gaussian.
    prob_epsilon : float
        Part of the Poisson probability of a bin that may be left out. The default is good for |PS| up to 20;
        larger ones come out too small. 1e-11 is good up to 250, and slower.
    nbinpdf : int
        Bins of the histogram of -ln L per bin of the spectrum.
    scaleaxis : float
        Width of the histogram, per bin of the spectrum.
    """

    maxpoissoncount: float = 100.0
    prob_epsilon: float = 1e-7
    nbinpdf: int = 50
    scaleaxis: float = 20.0

    def __post_init__(self) -> None:
        for name in ("maxpoissoncount", "nbinpdf", "scaleaxis"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"psmap: expected a positive {name}, found {getattr(self, name)!r}")
        if not 1e-300 <= self.prob_epsilon < 0.1:
            raise ConfigError(
                f"psmap: prob_epsilon={self.prob_epsilon!r}, expected a number from 1e-300 to 0.1"
            )


def psf_like_radius(
    energy: Any, psfpar0: float = 4.0, psfpar1: float = 100.0, psfpar2: float = 0.9, psfpar3: float = 0.1
) -> Array:
    """Return the radius of the circle in which counts are added up: about that of 68 % of the PSF.

    Parameters
    ----------
    energy : array
        Energies (MeV).
    psfpar0, psfpar1, psfpar2, psfpar3 : float
        The radius is ``sqrt(psfpar0**2 * (energy / psfpar1)**(-2 * psfpar2) + psfpar3**2)``, in deg.

    Examples
    --------
    >>> psf_like_radius([100, 1e4]).round(4).tolist()
    [4.0012, 0.1184]
    """
    energy = np.asarray(energy, dtype=float)
    return np.asarray(np.sqrt(psfpar0**2 * (energy / psfpar1) ** (-2 * psfpar2) + psfpar3**2))


def disk_kernel(radius: float, pixel_scales: Any, max_half: tuple[int, int]) -> Array:
    """Return ones in the pixels whose centres are nearer to the middle than the radius.

    Parameters
    ----------
    radius : float
        Radius (deg).
    pixel_scales : (float, float)
        Sizes of pixels along longitude and latitude (deg).
    max_half : (int, int)
        Most rows and columns to either side.

    Examples
    --------
    >>> disk_kernel(0.1, (0.1, 0.05), (5, 5)).astype(int).tolist()
    [[1], [1], [1]]
    """
    width, height = (float(scale) for scale in pixel_scales)
    rows, columns = (
        min(int(radius / size), most) for size, most in zip((height, width), max_half, strict=True)
    )
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    inside = np.hypot(x * width, y * height) < radius * (1 - 1e-12)
    kept = inside[np.ix_(inside.any(axis=1), inside.any(axis=0))]
    return kept.astype(float)


def rebin_spectra(cubes: list[Array], log_energy: Array, log_edges: Array) -> list[Array]:
    """Add up the energy bins whose centres lie in the same wide bin; empty wide bins are dropped.

    Parameters
    ----------
    cubes : list of array
        Shape (n_energy, ...).
    log_energy, log_edges : array
        Centres of the bins, and edges of the wide ones, in one logarithmic unit.
    """
    number = np.clip(np.digitize(log_energy, log_edges) - 1, 0, len(log_edges) - 2)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    return [np.add.reduceat(cube, first, axis=0) for cube in cubes]


def deviation_probability(
    counts: Any, npred: Any, weights: Any = None, settings: PSMapSettings | None = None
) -> tuple[Array, Array]:
    """Return how probable it is that a spectrum deviates from its model at least as much as observed.

    Parameters
    ----------
    counts, npred : array
        Observed and predicted counts, shape (n_bins, n_spectra). Counts are rounded.
    weights : array, optional
        Weights of the bins in the likelihood, of the same shape.
    settings : `PSMapSettings`, optional
        Precision.

    Returns
    -------
    probability, residual : array
        Probability, and the sum of the residuals in units of their standard deviations, whose sign tells the
        direction of the deviation; shape (n_spectra,).

    References
    ----------
    P. Bruel, A&A 656, A81 (2021), https://doi.org/10.1051/0004-6361/202141553

    Examples
    --------
    Ten counts where one is expected, beside three bins in which all is as expected:

    >>> probability, residual = deviation_probability([[10], [1], [0], [0]], [[1], [1], [0.1], [0.1]])
    >>> float(-np.log10(probability[0]).round(2)), float(residual[0])
    (5.55, 8.8)
    """
    settings = PSMapSettings() if settings is None else settings
    counts, npred = np.rint(np.asarray(counts, dtype=float)), np.asarray(npred, dtype=float)
    weights = np.ones_like(counts) if weights is None else np.asarray(weights, dtype=float)
    if not counts.shape == npred.shape == weights.shape or counts.ndim != 2:
        raise DataError(
            f"psmap: expected counts, npred and weights of one shape (n_bins, n_spectra), found "
            f"{counts.shape}, {npred.shape} and {weights.shape}"
        )
    order = np.argsort(-npred, axis=0, kind="stable")
    counts, npred, weights = (np.take_along_axis(a, order, axis=0) for a in (counts, npred, weights))
    residual = np.sum((counts - npred) / np.sqrt(np.maximum(npred, 1.0) / weights), axis=0)
    probability = np.full(counts.shape[1], np.nan)
    usable = np.all((npred > 0) & (weights > 0) & np.isfinite(npred + weights + counts), axis=0)
    # Bins in the Gaussian regime come first; spectra with the same number of them are worked on together.
    n_gauss = np.sum(npred > settings.maxpoissoncount, axis=0)
    for n in np.unique(n_gauss[usable]):
        columns = np.flatnonzero(usable & (n_gauss == n))
        for part in np.split(columns, np.arange(_CHUNK, len(columns), _CHUNK)):
            probability[part] = _probability(
                counts[:, part], npred[:, part], weights[:, part], int(n), settings
            )
    return probability, residual


def _probability(counts: Array, npred: Array, weights: Array, n_gauss: int, settings: PSMapSettings) -> Array:
    """Return the probabilities of spectra of which the first ``n_gauss`` bins are Gaussian."""
    from scipy.special import gammainc, gammaincc
    from scipy.stats import poisson

    n_bins, n_spectra = counts.shape
    half_chi2 = 0.5 * np.sum(((counts - npred) ** 2 / npred * weights)[:n_gauss], axis=0)
    if n_gauss == n_bins:
        return np.asarray(gammaincc(n_gauss / 2, half_chi2))
    counts, npred, weights = counts[n_gauss:], npred[n_gauss:], weights[n_gauss:]
    log_p = np.maximum(poisson.logpmf(counts, npred), np.log(1e-323))
    observed = half_chi2 - np.sum(weights * log_p, axis=0)
    n_hist = int(settings.nbinpdf) * n_bins
    step = settings.scaleaxis * (n_gauss + weights.sum(axis=0)) / n_hist
    low, high = _poisson_ranges(npred, settings.prob_epsilon)
    if n_gauss:
        edges = np.arange(n_hist + 1)[:, np.newaxis] * (step * (1 + 1 / n_hist))
        histogram = np.diff(gammainc(n_gauss / 2, edges), axis=0).T
        histogram[np.cumsum(histogram, axis=1) > 1 - settings.prob_epsilon] = 0.0
        first = 0
    else:
        histogram = _shifts(npred[0], weights[0], low[0], high[0], step, n_hist, np.floor)
        first = 1
    for i in range(first, len(npred)):
        filters = _shifts(npred[i], weights[i], low[i], high[i], step, n_hist, np.rint)
        histogram = _convolve(histogram, filters)
    largest = n_hist - 1 - np.argmax(histogram[:, ::-1] > 0, axis=1)
    # The centres of bins are those of a grid that is wider by one bin.
    middle = (largest + 0.5) * step * (1 + 1 / n_hist) if n_gauss else (largest + 0.5) * step
    start = np.floor(np.minimum(observed, middle) / step).astype(int)
    tails = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(tails[np.arange(n_spectra), np.clip(start, 0, n_hist - 1)])


def _shifts(
    npred: Array, weights: Array, low: Any, high: Any, step: Array, n_hist: int, rounded: Any
) -> Array:
    """Return the probability of each value of -ln L of one bin, in steps, shape (n_spectra, n_hist)."""
    from scipy.stats import poisson

    counts = low[:, np.newaxis] + np.arange(int((high - low).max()) + 1)
    log_p = poisson.logpmf(counts, npred[:, np.newaxis])
    number = rounded(-weights[:, np.newaxis] * log_p / step[:, np.newaxis])
    used = (counts <= high[:, np.newaxis]) & (number < n_hist)
    row = np.broadcast_to(np.arange(len(npred))[:, np.newaxis], counts.shape)[used]
    flat = np.bincount(
        row * n_hist + number[used].astype(int), np.exp(log_p[used]), minlength=len(npred) * n_hist
    )
    return np.asarray(flat.reshape(len(npred), n_hist))


def _convolve(histogram: Array, filters: Array) -> Array:
    """Convolve rows with rows, without what would be beyond the last bin.

    Fourier transforms would be faster, but lose the small probabilities that matter.
    """
    n_hist = histogram.shape[1]
    result = np.zeros_like(histogram)
    for shift in np.flatnonzero(filters.any(axis=0)):
        result[:, shift:] += filters[:, shift, np.newaxis] * histogram[:, : n_hist - shift]
    return result


def _poisson_ranges(npred: Array, epsilon: float) -> tuple[Any, Any]:
    """Return the counts between which all but ``epsilon`` of the Poisson probability lies.

    These are the parametrisations of the published tool, so that maps agree with its; the exact quantiles
    differ by one count at most.
    """
    from scipy.special import erfcinv

    e = np.log10(epsilon)
    few = npred < 5
    scale = 0.715029 + 0.049825 * e + 0.011768 * e**2
    factor = -0.308206 - 1.309547 * e - 0.028455 * e**2
    slope = 1.881824 + 0.117058 * e + 0.004208 * e**2
    with np.errstate(divide="ignore"):
        log_npred = np.maximum(np.log10(npred), -4.0)
    high = np.rint(scale + factor * np.exp(slope * np.where(few, log_npred, 0.0)) + 1)
    spread = np.sqrt(2 * npred) * erfcinv(epsilon)
    low_many = np.rint(npred - spread + np.rint(-0.523564 - 0.75129 * e))
    high_many = np.rint(npred + spread + np.rint(-1.09374 - 0.716202 * e))
    low = np.where(few, 0.0, np.maximum(low_many, 0.0))
    return low.astype(int), np.where(few, high, high_many).astype(int)


def ps_map(
    counts: Any, npred: Any, kernels: list[Array], weights: Any = None, groups: Any = None, **settings: Any
) -> dict[str, Array]:
    """Compute PS and its sign at each pixel of a cube.

    Parameters
    ----------
    counts, npred : array
        Cubes, shape (n_energy, n_lat, n_lon).
    kernels : list of array
        For each energy what is added up around a pixel, see `disk_kernel`.
    weights : array, optional
        Weights of the likelihood, of the shape of the counts. They are averaged over 1 / weight, by counts.
    groups : (array, array), optional
        Logarithms of the energies of the bins, and the edges to which they are joined, see `rebin_spectra`.
    **settings
        Of `PSMapSettings`.

    Returns
    -------
    dict
        ``ps``: -log10 of the probability, negative where there are too few counts; ``sigma``: the same as
        Gaussian standard deviations; ``data`` and ``model``: the spectra, shape (n_bins, n_lat, n_lon).

    Examples
    --------
    >>> counts = np.zeros((2, 5, 5)); counts[0, 2, 2] = 12
    >>> result = ps_map(counts, np.full((2, 5, 5), 0.5), [np.ones((3, 3)), np.ones((1, 1))])
    >>> result["ps"][2, 2].round(2), result["data"][:, 2, 2].round(), bool(result["ps"][0, 0] < 0)
    (np.float64(2.05), array([12.,  0.]), True)
    """
    from scipy.special import erfcinv

    options = PSMapSettings(**settings)
    counts, npred = (np.asarray(cube, dtype=float) for cube in (counts, npred))
    data = _sums(counts, kernels)
    data[data < 0.1] = 0.0
    model = np.maximum(_sums(npred, kernels), 0.0)
    # Counts over weights are sums, so they can be added up in energy as well.
    inverse = data.copy() if weights is None else _sums(_divide(counts, np.asarray(weights, float)), kernels)
    if groups is not None:
        data, model, inverse = rebin_spectra([data, model, inverse], *groups)
    mean_weight = np.where(data > 0, data / np.where(inverse > 0, inverse, 1.0), 1.0)
    n = len(data)
    probability, residual = deviation_probability(
        data.reshape(n, -1), model.reshape(n, -1), mean_weight.reshape(n, -1), options
    )
    with np.errstate(invalid="ignore"):
        probability = np.maximum(probability, _SMALLEST)
    sign = np.where(residual < 0, -1.0, 1.0)
    shape = data.shape[1:]
    return {
        "ps": (-sign * np.log10(probability)).reshape(shape),
        "sigma": (sign * np.sqrt(2) * erfcinv(probability)).reshape(shape),
        "data": data,
        "model": model,
    }


def _divide(counts: Array, weights: Array) -> Array:
    return np.where(counts > 0, counts / np.where(weights > 0, weights, np.nan), 0.0)


def _sums(cube: Array, kernels: list[Array]) -> Array:
    """Add up what each kernel, centred on each pixel, covers."""
    from scipy.signal import fftconvolve

    if len(kernels) != len(cube):
        raise DataError(f"psmap: expected one kernel for each of {len(cube)} energies, found {len(kernels)}")
    return np.stack(
        [fftconvolve(image, kernel, mode="same") for image, kernel in zip(cube, kernels, strict=True)]
    )
