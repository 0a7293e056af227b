"""The residual background that the responses of an observation predict."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.modeling.models.background import FoVBackgroundModel, check_norm, default_norm
from villard.modeling.models.component import ComponentModel, check_names
from villard.modeling.models.core import model_from_dict, named
from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spectral.core import SpectralModel
from villard.utils.names import make_name, nearest

__all__ = ["IRFBackground"]

_KEYS = ("name", "type", "datasets_names", "spectral", "spatial")


class IRFBackground(FoVBackgroundModel):
    """Residual cosmic rays: the table of rates of an observation (`Background2D`, `Background3D`).

    It is a rate of *reconstructed* energies and directions, which effective area, energy dispersion and point
    spread function have no business with: events are drawn from it as it is.

    Parameters
    ----------
    spectral_model : `SpectralModel`, optional
        Factor to the table as a function of reconstructed energy; by default a `PowerLawNormSpectralModel`
        with a free norm and a frozen tilt.
    spatial_model : `SpatialModel`, optional
        Factor as a function of direction.
    name : str
        Name.
    datasets_names : str or list of str, optional
        Observations or datasets whose background it is; all by default.

    Examples
    --------
    >>> IRFBackground().parameters.free_parameters.names
    ['norm']
    """

    tag: ClassVar[list[str]] = ["IRFBackground", "irf-bkg"]

    def __init__(
        self,
        spectral_model: SpectralModel | None = None,
        spatial_model: SpatialModel | None = None,
        name: str = "irf-background",
        datasets_names: str | list[str] | None = None,
    ) -> None:
        self.spectral_model = default_norm() if spectral_model is None else spectral_model
        self.spatial_model = spatial_model
        self.name = make_name(name)
        self.datasets_names = check_names(datasets_names, f"IRFBackground {name!r}")
        ComponentModel.__init__(self)
        self._check_parts({"spectral": SpectralModel, "spatial": SpatialModel})
        check_norm(self.spectral_model, f"IRFBackground {self.name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "datasets_names":
            value = check_names(value, f"IRFBackground {self.name!r}")
        ComponentModel.__setattr__(self, name, value)

    def factor(self, energy: Any, skycoord: Any) -> NDArray[np.float64]:
        """Return the factor to the table.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Reconstructed energies.
        skycoord : `~astropy.coordinates.SkyCoord`
            Directions, which broadcast against the energies.
        """
        if self.spatial_model is None:
            return self.evaluate(energy)
        sky = skycoord.transform_to(self.spatial_model.frame).spherical
        return self.evaluate(energy, sky.lon, sky.lat)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of YAML."""
        result: dict[str, Any] = {"name": self.name, "type": self.tag[0]}
        if self.datasets_names is not None:
            result["datasets_names"] = list(self.datasets_names)
        return result | {
            part: model.to_dict(full_output=full_output) for part, model in self._components.items()
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`.

        Raises
        ------
        ModelError
            If a key or the type of a part is unknown.
        """
        where = f"IRFBackground {data.get('name')!r}"
        for key in data:
            if key not in _KEYS:
                raise ModelError(f"{where}: unknown key {key!r}. {nearest(str(key), _KEYS)}")
        parts: dict[str, Any] = {"datasets_names": data.get("datasets_names")}
        if data.get("name") is not None:
            parts["name"] = data["name"]
        with named(where):
            for part in ("spectral", "spatial"):
                if data.get(part) is not None:
                    parts[f"{part}_model"] = model_from_dict(part, data[part], part)
            return cls(**parts)
