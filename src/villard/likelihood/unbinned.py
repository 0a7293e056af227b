r"""The extended likelihood of events, in the form of the statistics per bin.

.. math:: -2 \ln L = 2 \mu_\mathrm{tot} - 2 \sum_i \ln \mu(E_i, \Omega_i)

(Barlow 1990, NIM A 297, 496, eq. 4). The first term is that of one bin with a share of 1 in the predicted
counts and without counts; each event is a bin with one count, whose prediction is a density without share.
"""

from typing import Any

from villard.likelihood.count_statistics import TRUNCATION, _arrays, _truncate

__all__ = ["unbinned", "unbinned_derivatives", "unbinned_fisher"]


def unbinned(counts: Any, share: Any, mu: Any, truncation_value: float = TRUNCATION) -> Any:
    r"""Return :math:`2 (s \mu - n \ln \mu)`.

    Parameters
    ----------
    counts : array
        Number of events: 0 for the total, 1 for an event.
    share : array
        1 for the total, 0 for an event.
    mu : array
        Predicted total, or density at the event.
    truncation_value : float
        Smaller predictions are raised to it.

    Examples
    --------
    >>> float(unbinned(0, 1, 10.0)), float(unbinned(1, 0, 1.0))
    (20.0, 0.0)
    """
    xp, counts, share, mu = _arrays(counts, share, mu)
    mu = _truncate(xp, mu, truncation_value)
    return 2 * (share * mu - counts * xp.log(mu))


def unbinned_derivatives(
    counts: Any, share: Any, mu: Any, truncation_value: float = TRUNCATION
) -> tuple[Any, Any, Any]:
    r"""Return `unbinned` and its derivatives by μ, :math:`2 (s - n / \mu)` and :math:`2 n / \mu^2`.

    Examples
    --------
    >>> [float(value) for value in unbinned_derivatives(1, 0, 2.0)[1:]]
    [-1.0, 0.5]
    """
    xp, counts, share, mu = _arrays(counts, share, mu)
    mu = _truncate(xp, mu, truncation_value)
    ratio = counts / mu
    return 2 * (share * mu - counts * xp.log(mu)), 2 * (share - ratio), 2 * ratio / mu


def unbinned_fisher(counts: Any, mu: Any, truncation_value: float = TRUNCATION) -> Any:
    """Return the observed second derivative: events are where they are, so there is no expected one.

    Examples
    --------
    >>> float(unbinned_fisher(1, 2.0))
    0.5
    """
    xp, counts, mu = _arrays(counts, mu)
    return 2 * counts / _truncate(xp, mu, truncation_value) ** 2
