"""Datasets with simulated data: the expected ones, or random ones around them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.simulate.expectation import Expectation, as_list, expectations

__all__ = ["asimov", "fake"]

Array = NDArray[np.float64]


def asimov(datasets: Any, npred_background: Any = None) -> Any:
    r"""Return copies of datasets whose data are those that their models predict.

    A fit to Asimov data returns the true values, its covariance is the expected one, and its
    likelihood ratios are the medians of those of random data (Cowan, Cranmer, Gross & Vitells 2011,
    EPJ C 71, 1554, section 3.2).

    Parameters
    ----------
    datasets : dataset, list of datasets or `~villard.datasets.Datasets`
        Responses and models; the present values of the parameters are the truth.
    npred_background : map, array or dict of these by name of dataset, optional
        True background counts in the on region of datasets with an off region. By default the most
        likely ones, given the measured counts and the models.

    Returns
    -------
    dataset or `~villard.datasets.Datasets`
        Copies of the same names, with copies of the models.

    Raises
    ------
    DataError
        If a dataset has no models, or its data can't be simulated.

    Examples
    --------
    >>> from villard.datasets import SpectrumDataset
    >>> from villard.maps import MapAxis, RegionGeom
    >>> from villard.modeling.models import PowerLawSpectralModel, SkyModel
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    >>> dataset = SpectrumDataset.create(RegionGeom(None, axes=[axis]), name="toy")
    >>> dataset.exposure.data[...] = 1e9
    >>> dataset.models = SkyModel(PowerLawSpectralModel(index=2), name="source")
    >>> asimov(dataset).counts.data.ravel().round(2).tolist()
    [5.36, 2.49, 1.15]
    """
    expected = expectations(datasets, npred_background)
    return _with_data(datasets, expected, [e.expected for e in expected])


def fake(datasets: Any, random_state: Any = "random-seed", npred_background: Any = None) -> Any:
    """Return copies of datasets with random data around those that their models predict.

    Counts are Poisson variables, flux points Gaussian ones of their errors.

    Parameters
    ----------
    datasets : dataset, list of datasets or `~villard.datasets.Datasets`
        Responses and models; the present values of the parameters are the truth.
    random_state : int, generator or "random-seed"
        See `~villard.datasets.core.get_random_state`.
    npred_background : map, array or dict of these by name of dataset, optional
        As for `asimov`.

    Returns
    -------
    dataset or `~villard.datasets.Datasets`
        Copies of the same names, with copies of the models.

    Raises
    ------
    DataError
        If a dataset has no models, or its data can't be simulated.
    """
    from villard.datasets.core import get_random_state

    rng = get_random_state(random_state)
    expected = expectations(datasets, npred_background)
    return _with_data(datasets, expected, [{k: v[0] for k, v in e.draw(rng, 1).items()} for e in expected])


def _with_data(datasets: Any, expected: list[Expectation], data: list[dict[str, Array]]) -> Any:
    from villard.datasets import Datasets
    from villard.modeling.models import Models

    originals = as_list(datasets)
    models = Models({id(m): m for d in originals for m in d.models}.values()).copy()
    copies = []
    for original, expectation, values in zip(originals, expected, data, strict=True):
        new = _replace_data(original, expectation, values)
        new.models = models
        copies.append(new)
    return copies[0] if hasattr(datasets, "measurement") else Datasets(copies)


def _replace_data(dataset: Any, expectation: Expectation, values: dict[str, Array]) -> Any:
    if "value" in values:
        return _replace_fluxes(dataset, expectation, values["value"])
    new = dataset.copy(name=dataset.name)
    for key, array in values.items():
        setattr(new, key, dataset._as_map(array))
    return new


def _replace_fluxes(dataset: Any, expectation: Expectation, values: Array) -> Any:
    import astropy.units as u

    points = dataset.data
    table = points.to_table(sed_type="dnde")
    unit = table["dnde"].unit
    inside = expectation.measurement.mask
    measured = table["dnde"].quantity.to_value(unit)
    simulated = u.Quantity(values, "cm-2 s-1 TeV-1").to_value(unit)
    # Points outside the fit may have no error to draw with: they stay as they were.
    table["dnde"] = np.where(inside, simulated, measured) * unit
    new = type(points).from_table(table, sed_type="dnde", gti=points.gti)
    return dataset._with(new, dataset._mask_fit, dataset._mask_safe, dataset.name)
