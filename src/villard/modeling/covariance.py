"""Covariance of parameters: one source of truth, seen alike from models, datasets and results."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ParameterError
from villard.modeling.parameter import Parameter, Parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CorrelationRecord", "Covariance"]


class CorrelationRecord:
    """Correlation matrix of the parameters that were fitted together.

    Each of those parameters points here and knows its row. A covariance is put together from the
    parameters' errors and these correlations whenever it is asked for, so that no copy of it in a
    model or a dataset can go stale.
    """

    __slots__ = ("matrix",)

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        self.matrix = matrix


def _assemble(parameters: Parameters) -> NDArray[np.float64]:
    errors = np.array([p.error for p in parameters], dtype=float)
    n = len(parameters)
    correlation = np.eye(n)
    for i, first in enumerate(parameters):
        for j in range(i):
            second = parameters[j]
            if first is second:
                correlation[i, j] = correlation[j, i] = 1.0
            elif first._record is not None and first._record is second._record:
                value = first._record.matrix[first._record_index, second._record_index]
                correlation[i, j] = correlation[j, i] = value
    return correlation * np.outer(errors, errors)


class Covariance:
    """Covariance matrix of a collection of parameters.

    Parameters
    ----------
    parameters : `Parameters` or list of `Parameter`
        The parameters, in the order of rows and columns.
    data : array of shape (n, n), optional
        The matrix, in the parameters' units. By default it is taken from the parameters: their
        errors and the correlations of the last fit.

    Examples
    --------
    >>> index, amplitude = Parameter("index", 2.0), Parameter("amplitude", 1.0)
    >>> Covariance([index, amplitude], [[0.04, 0.01], [0.01, 0.25]]).apply()
    >>> index.error, amplitude.error
    (0.2, 0.5)
    >>> Covariance([amplitude, index]).correlation.round(3).tolist()
    [[1.0, 0.1], [0.1, 1.0]]
    """

    def __init__(self, parameters: Iterable[Parameter], data: Any = None) -> None:
        self.parameters = parameters if isinstance(parameters, Parameters) else Parameters(parameters)
        n = len(self.parameters)
        if data is None:
            data = _assemble(self.parameters)
        self._data = np.asarray(data, dtype=float)
        if self._data.shape != (n, n):
            raise ParameterError(
                f"Covariance of {n} parameters must have shape {(n, n)}, found {self._data.shape}"
            )

    @property
    def data(self) -> NDArray[np.float64]:
        """Matrix in the parameters' units, shape (n, n)."""
        return self._data

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix."""
        n = len(self.parameters)
        return n, n

    @property
    def correlation(self) -> NDArray[np.float64]:
        """Correlation matrix, 0 where a parameter has no error."""
        errors = np.sqrt(np.clip(np.diag(self._data), 0, None))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nan_to_num(self._data / np.outer(errors, errors))

    def get_subcovariance(self, parameters: Iterable[Parameter]) -> "Covariance":
        """Return the covariance of some of the parameters."""
        index = [self.parameters.index(p) for p in parameters]
        return Covariance(Parameters(parameters), self._data[np.ix_(index, index)])

    def apply(self) -> None:
        """Set the errors and correlations of the parameters to those of this matrix."""
        unique = self.parameters.unique_parameters
        index = [self.parameters.index(p) for p in unique]
        matrix = self._data[np.ix_(index, index)]
        record = CorrelationRecord(Covariance(unique, matrix).correlation)
        for row, parameter in enumerate(unique):
            parameter.error = float(np.sqrt(max(matrix[row, row], 0.0)))
            parameter._record, parameter._record_index = record, row

    def plot_correlation(self, ax: "Axes | None" = None, annotate: bool = True, **kwargs: Any) -> "Axes":
        """Draw the correlation matrix of the parameters that have an error.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Axes to draw on.
        annotate : bool
            Whether the coefficients are written into the squares.
        **kwargs : dict
            Passed to `~matplotlib.axes.Axes.imshow`.

        Returns
        -------
        `~matplotlib.axes.Axes`
            The axes.
        """
        import matplotlib.pyplot as plt

        keep = [i for i in range(len(self.parameters)) if self._data[i, i] > 0]
        correlation = self.correlation[np.ix_(keep, keep)]
        labels = [self.parameters[i].name for i in keep]
        ax = plt.gca() if ax is None else ax
        image = ax.imshow(correlation, **{"vmin": -1, "vmax": 1, "cmap": "RdBu_r", **kwargs})
        ax.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        ax.set_yticks(range(len(labels)), labels)
        ax.figure.colorbar(image, ax=ax, label="Correlation")
        if annotate and len(labels) <= 20:
            for (row, column), value in np.ndenumerate(correlation):
                color = "white" if abs(value) > 0.6 else "black"
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize="small")
        return ax

    def __str__(self) -> str:
        return f"Covariance of {', '.join(self.parameters.names)}\n{self._data}"
