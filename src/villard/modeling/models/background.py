"""The background of a dataset, scaled by a norm spectrum and, where it is given, a norm on the sky."""

from typing import Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.component import ComponentModel
from villard.modeling.models.core import model_from_dict, named
from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spectral.core import SpectralModel
from villard.utils.names import nearest
from villard.utils.units import unit_text

__all__ = ["FoVBackgroundModel"]

_KEYS = ("name", "type", "datasets_names", "spectral", "spatial", "parameters")


def check_norm(model: SpectralModel, where: str) -> None:
    """Raise `UnitsError` if a spectrum isn't a factor without unit."""
    if not model.output_unit.is_equivalent(u.dimensionless_unscaled):
        raise UnitsError(
            f"{where}: expected a norm spectrum without unit, such as PowerLawNormSpectralModel, found "
            f"{type(model).__name__} in {unit_text(model.output_unit)}"
        )


def default_norm() -> SpectralModel:
    """Return the power law that is 1: its norm is free, its tilt and reference energy are frozen."""
    from villard.modeling.models.spectral.power_law import PowerLawNormSpectralModel

    return PowerLawNormSpectralModel()


class FoVBackgroundModel(ComponentModel):
    """Factors to the background of one dataset.

    The predicted background is that of the dataset times a factor that depends on the (reconstructed)
    energy and, with a spatial model, on the direction.

    Parameters
    ----------
    dataset_name : str
        Dataset whose background it is.
    spectral_model : `SpectralModel`, optional
        Factor as a function of energy; by default a `PowerLawNormSpectralModel` with a free norm and
        a frozen tilt.
    spatial_model : `SpatialModel`, optional
        Factor as a function of direction, such as `PiecewiseNormSpatialModel`.
    name : str, optional
        Name; by default that of the dataset with ``-bkg`` behind it.

    Raises
    ------
    ModelError
        If the name of the dataset is missing, or a part isn't a model of its kind.
    UnitsError
        If the spectrum has a unit.

    Examples
    --------
    >>> model = FoVBackgroundModel(dataset_name="cta")
    >>> model.name, model.parameters.free_parameters.names
    ('cta-bkg', ['norm'])
    >>> model.evaluate([1, 2] * u.TeV)
    array([1., 1.])
    """

    tag: ClassVar[list[str]] = ["FoVBackgroundModel", "fov-bkg"]
    is_background = True

    def __init__(
        self,
        dataset_name: str | list[str] | None = None,
        spectral_model: SpectralModel | None = None,
        spatial_model: SpatialModel | None = None,
        covariance_data: Any = None,
        name: str | None = None,
    ) -> None:
        dataset_name = _single(dataset_name)
        self.spectral_model = default_norm() if spectral_model is None else spectral_model
        self.spatial_model = spatial_model
        self.name = f"{dataset_name}-bkg" if name is None else str(name)
        self.datasets_names = [dataset_name]
        super().__init__()
        self._check_parts({"spectral": SpectralModel, "spatial": SpatialModel})
        check_norm(self.spectral_model, f"FoVBackgroundModel {self.name!r}")
        if covariance_data is not None:
            self.covariance = covariance_data

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "datasets_names":
            # A background belongs to one dataset, whose name its own name follows.
            value = [_single(value)]
            old = self.__dict__.get("datasets_names")
            if old is not None and self.name == f"{old[0]}-bkg":
                self.name = f"{value[0]}-bkg"
        super().__setattr__(name, value)

    def evaluate(self, energy: Any, lon: Any = None, lat: Any = None) -> NDArray[np.float64]:
        """Return the factor to the background.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Reconstructed energies.
        lon, lat : `~astropy.units.Quantity`, optional
            Directions in the frame of the spatial model, if there is one; arrays broadcast.

        Returns
        -------
        `~numpy.ndarray`
            Factors.

        Raises
        ------
        ModelError
            If there is a spatial model and directions are missing.
        """
        value = self.spectral_model(energy).to_value("")
        if self.spatial_model is None:
            return value
        if lon is None or lat is None:
            raise ModelError(f"FoVBackgroundModel {self.name!r}: its spatial model needs directions")
        return value * self.spatial_model(lon, lat, energy).value

    def evaluate_geom(self, geom: Any) -> NDArray[np.float64]:
        """Return the factor in each bin of a geometry with an axis ``energy``, in the shape of its data."""
        coord = geom.get_coord(sparse=True)
        energy = coord["energy"]
        if self.spatial_model is None:
            return np.broadcast_to(self.evaluate(energy), geom.data_shape).copy()
        sky = coord.skycoord.transform_to(self.spatial_model.frame).spherical
        return np.broadcast_to(self.evaluate(energy, sky.lon, sky.lat), geom.data_shape).copy()

    __call__ = evaluate

    def reset_to_default(self) -> None:
        """Make the factor 1: a `PowerLawNormSpectralModel` with its default values, and no spatial model."""
        self.spectral_model, self.spatial_model = default_norm(), None

    def copy(self, name: str | None = None, copy_data: bool = True, **kwargs: Any) -> Self:
        """Return a copy, by default of the same name, which follows the dataset's."""
        return super().copy(name=self.name if name is None else name, copy_data=copy_data, **kwargs)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML; the name is told if it isn't the default one."""
        assert self.datasets_names is not None
        result: dict[str, Any] = {"type": self.tag[0], "datasets_names": list(self.datasets_names)}
        if self.name != f"{self.datasets_names[0]}-bkg":
            result = {"name": self.name, **result}
        for part, model in self._components.items():
            result[part] = model.to_dict(full_output=full_output)
        return result

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`.

        Raises
        ------
        ModelError
            If a key or the type of a part is unknown; the message names the dataset.
        """
        where = f"FoVBackgroundModel of {data.get('datasets_names')!r}"
        for key in data:
            if key not in _KEYS:
                raise ModelError(f"{where}: unknown key {key!r}. {nearest(str(key), _KEYS)}")
        parts: dict[str, Any] = {}
        if "parameters" in data and "spectral" not in data:
            # Files of Gammapy before 0.19 have those of a power law here.
            data = {**data, "spectral": {"type": "pl-norm", "parameters": data["parameters"]}}
        with named(where):
            for part in ("spectral", "spatial"):
                if data.get(part) is not None:
                    parts[f"{part}_model"] = model_from_dict(part, data[part], part)
            return cls(data.get("datasets_names"), name=data.get("name"), **parts)


def _single(names: Any) -> str:
    """Return the name of the one dataset."""
    if isinstance(names, list | tuple) and len(names) == 1:
        names = names[0]
    if not isinstance(names, str):
        raise ModelError(f"FoVBackgroundModel: expected the name of one dataset, found {names!r}")
    return names
