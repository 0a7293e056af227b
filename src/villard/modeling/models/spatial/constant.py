"""The same brightness in all directions."""

from typing import Any

from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["ConstantSpatialModel"]


class ConstantSpatialModel(SpatialModel):
    """Isotropic emission; unlike all others its integral isn't 1 but 4 π times the value.

    Parameters
    ----------
    value : `~astropy.units.Quantity`
        Density.

    Examples
    --------
    >>> ConstantSpatialModel()("1 deg", "2 deg")
    <Quantity 1. 1 / sr>
    """

    tag = ["ConstantSpatialModel", "const"]
    value = Parameter("value", "1 sr-1", frozen=True)

    @staticmethod
    def evaluate(lon: Any, lat: Any, value: Any) -> Any:
        """Density (sr-1)."""
        xp = namespace(lon, lat, value)
        return value * xp.ones(xp.broadcast_shapes(xp.shape(lon), xp.shape(lat)))

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML, where it has no frame."""
        data = super().to_dict(full_output)
        del data["frame"]
        return data
