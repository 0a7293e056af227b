"""How often random data fit the model worse than the real data do."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.simulate.intervals import binomial_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["GoodnessOfFit", "empirical_p_value"]


@dataclass(frozen=True)
class GoodnessOfFit:
    """Goodness of fit of real data, compared with toys of the fitted model.

    Attributes
    ----------
    observed : float
        Statistic of the real data at its minimum, relative to a perfect prediction.
    stats : array
        The same of each toy, shape (n_toys,).
    n_dof : int
        Number of bins less that of free parameters.
    """

    observed: float
    stats: NDArray[np.float64] = field(repr=False)
    n_dof: int

    @property
    def p_value(self) -> float:
        """Probability of a fit that is at least as bad, if the model is true; never 0."""
        return empirical_p_value(self.stats, self.observed)

    @property
    def p_value_err(self) -> float:
        """Statistical error of `p_value`, from the number of toys."""
        return float(binomial_error(self.p_value, len(self.stats)))

    @property
    def p_value_chi2(self) -> float:
        """What the χ² distribution would give; a good approximation only for many counts per bin."""
        from scipy.special import gammaincc

        return float(gammaincc(self.n_dof / 2, max(self.observed, 0.0) / 2)) if self.n_dof > 0 else np.nan

    def plot(self, ax: "Axes | None" = None, **kwargs: Any) -> "Axes":
        """Plot the distribution of the toys and the real data; see `plot_goodness_of_fit`."""
        from villard.visualization import plot_goodness_of_fit

        return plot_goodness_of_fit(self, ax=ax, **kwargs)

    def __str__(self) -> str:
        entries = {
            "observed": f"{self.observed:.2f} for {self.n_dof} degrees of freedom",
            "toys": f"{len(self.stats)}, {np.mean(self.stats):.2f} on average",
            "p-value": f"{self.p_value:.3g} +/- {self.p_value_err:.2g}",
            "p-value of chi2": f"{self.p_value_chi2:.3g}",
        }
        width = max(map(len, entries))
        return "\n".join(
            ["GoodnessOfFit", "", *(f"\t{key:<{width}} : {value}" for key, value in entries.items())]
        )


def empirical_p_value(values: NDArray[np.float64], observed: float) -> float:
    """Return the share of values that are at least as large, counting the observed one among them.

    So a p-value is never 0, and a test at this level has at most that rate of false alarms
    (Davison & Hinkley 1997, "Bootstrap Methods and their Application", eq. 4.11).

    Examples
    --------
    >>> empirical_p_value(np.array([1.0, 2.0, 3.0]), 2.5)
    0.5
    """
    return float((np.sum(values >= observed) + 1) / (len(values) + 1))
