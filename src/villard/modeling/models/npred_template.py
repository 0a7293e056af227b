"""A template of predicted counts, scaled by a norm spectrum and, where it is given, a norm on the sky."""

import os
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ModelError, UnitsError
from villard.maps import Map
from villard.modeling.models.background import check_norm, default_norm
from villard.modeling.models.component import ComponentModel, check_names
from villard.modeling.models.core import model_from_dict, named
from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.models.template_file import TemplateFile, check_finite, file_name
from villard.utils.names import make_name, nearest
from villard.utils.units import unit_text

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["TemplateNPredModel"]

_KEYS = ("name", "type", "spectral", "spatial", "filename", "datasets_names")


class TemplateNPredModel(TemplateFile, ComponentModel):
    """Counts per bin that are added to the predicted ones as they are: responses aren't applied.

    Parameters
    ----------
    map : `~villard.maps.Map`
        Counts, with an axis ``energy``.
    spectral_model : `SpectralModel`, optional
        Factor as a function of energy; by default a `PowerLawNormSpectralModel` with a free norm and
        a frozen tilt.
    name : str, optional
        Name; random by default.
    filename : str or path-like, optional
        File of the map, which is what goes into YAML.
    datasets_names : str or list of str, optional
        Datasets that the counts are added to; all by default.
    copy_data : bool
        Whether the map is copied.
    spatial_model : `SpatialModel`, optional
        Factor as a function of direction, such as `PiecewiseNormSpatialModel`.

    Raises
    ------
    ModelError
        If the map has no axis ``energy``, or holes (NaN), or a part isn't a model of its kind.
    UnitsError
        If the map or the spectrum has a unit.

    Examples
    --------
    >>> from villard.maps import Map, MapAxis
    >>> counts = Map.create(npix=2, binsz=1, axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)])
    >>> counts.data += 3
    >>> model = TemplateNPredModel(counts, name="template")
    >>> model.spectral_model.norm.value = 2
    >>> float(model.evaluate().data.sum())
    24.0
    """

    tag: ClassVar[list[str]] = ["TemplateNPredModel"]
    is_npred_template = True
    _settable = (*ComponentModel._settable, "map", "filename")

    def __init__(
        self,
        map: Map,
        spectral_model: SpectralModel | None = None,
        name: str | None = None,
        filename: str | os.PathLike[str] | None = None,
        datasets_names: str | list[str] | None = None,
        copy_data: bool = True,
        spatial_model: SpatialModel | None = None,
        covariance_data: Any = None,
    ) -> None:
        where = f"TemplateNPredModel {name or ''}".strip()
        _check_map(map, where)
        self.map = map.copy() if copy_data else map
        self.spectral_model = default_norm() if spectral_model is None else spectral_model
        self.spatial_model = spatial_model
        self.name = make_name(name)
        self.filename = None if filename is None else os.fspath(filename)
        self.datasets_names = check_names(datasets_names, where)
        super().__init__()
        self._check_parts({"spectral": SpectralModel, "spatial": SpatialModel})
        check_norm(self.spectral_model, where)
        if covariance_data is not None:
            self.covariance = covariance_data

    @property
    def energy_center(self) -> u.Quantity:
        """Centres of the bins of energy, in a shape that broadcasts against the map's data."""
        return self.map.geom._along(self.map.geom.axes["energy"].center, "energy")

    @property
    def position(self) -> "SkyCoord | None":
        """Centre of the map."""
        return self.map.geom.center_skydir

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Half of the longer side of the map."""
        return np.max(self.map.geom.width) / 2

    def evaluate(self) -> Map:
        """Return the predicted counts: the template times its factors, on the geometry of the template."""
        factor = self.spectral_model(self.energy_center).to_value("")
        return self.map.copy(data=self.evaluate_geom(self.map.geom) * factor)

    def evaluate_geom(self, geom: Any) -> NDArray[np.float64]:
        """Return what the spectrum scales: the template times its factor on the sky, in bins of a dataset.

        Parameters
        ----------
        geom : `~villard.maps.Geom`
            Geometry with the same axes and pixels; pixels outside of the template get no counts.

        Returns
        -------
        `~numpy.ndarray`
            Counts, in the shape of the data.

        Raises
        ------
        ModelError
            If the pixels or energies aren't those of the template.
        """
        return self.template_on(geom, self.spatial_model)

    def template_on(self, geom: Any, spatial_model: Any) -> NDArray[np.float64]:
        """Return the template times a spatial model (or `None`) in bins; otherwise as `evaluate_geom`."""
        counts = self.map
        if spatial_model is not None:
            coord = counts.geom.get_coord(sparse=True)
            sky = coord.skycoord.transform_to(spatial_model.frame).spherical
            counts = counts * spatial_model(sky.lon, sky.lat, coord["energy"]).value
        if counts.geom.is_allclose(geom):
            return np.asarray(counts.data, dtype=float)
        result = Map.from_geom(geom)
        try:
            result.stack(counts)
        except DataError as error:
            raise ModelError(
                f"TemplateNPredModel {self.name!r}: the template must have the pixels and energies of the "
                f"dataset: {error}"
            ) from error
        return result.data

    def cutout(
        self, position: "SkyCoord", width: Any, mode: str = "trim", name: str | None = None
    ) -> "TemplateNPredModel":
        """Return the model of a rectangle around a direction.

        Parameters
        ----------
        position, width, mode
            As for `~villard.maps.WcsNDMap.cutout`.
        name : str, optional
            Name; random by default.
        """
        map: Any = self.map
        return self._with_map(map.cutout(position, width=width, mode=mode), name)

    def slice_by_energy(
        self, energy_min: u.Quantity, energy_max: u.Quantity, name: str | None = None
    ) -> "TemplateNPredModel":
        """Return the model of the bins between the edges nearest to two energies."""
        return self._with_map(self.map.slice_by_energy(energy_min, energy_max), name)

    def stack(self, other: "TemplateNPredModel", weights: Map | None = None, nan_to_num: bool = True) -> None:
        """Add the counts of another template; its factors become part of this template's counts.

        Parameters
        ----------
        other : `TemplateNPredModel`
            Model to add; its map may be a cutout of this one's, or lie partly outside.
        weights, nan_to_num
            As for `~villard.maps.Map.stack`.
        """
        total = self.evaluate()
        total.stack(other.evaluate(), weights=weights, nan_to_num=nan_to_num)
        self.map, self.filename = total, None
        self.spectral_model, self.spatial_model = default_norm(), None

    def _with_map(self, map: Map, name: str | None) -> "TemplateNPredModel":
        new = self.copy(name=name)
        new.map, new.filename = map, None
        return new

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML, with the name of the file of the map."""
        result: dict[str, Any] = {"name": self.name, "type": self.tag[0]}
        for part, model in self._components.items():
            result[part] = model.to_dict(full_output=full_output)
        result["filename"] = self.filename
        if self.datasets_names is not None:
            result["datasets_names"] = list(self.datasets_names)
        return result

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`, and read its map.

        Raises
        ------
        ModelError
            If a key or the type of a part is unknown; the message names the model.
        """
        where = f"TemplateNPredModel {data.get('name')!r}"
        for key in data:
            if key not in _KEYS:
                raise ModelError(f"{where}: unknown key {key!r}. {nearest(str(key), _KEYS)}")
        filename = file_name(data, where)
        parts: dict[str, Any] = {}
        with named(where):
            for part in ("spectral", "spatial"):
                if data.get(part) is not None:
                    parts[f"{part}_model"] = model_from_dict(part, data[part], part)
        names = data.get("datasets_names")
        return cls(
            Map.read(filename),
            name=data.get("name"),
            filename=filename,
            datasets_names=names,
            copy_data=False,
            **parts,
        )


def _check_map(map: Map, where: str) -> None:
    check_finite(map, where)
    if "energy" not in map.geom.axes.names:
        raise ModelError(f"{where}: expected counts with an axis 'energy', found {map.geom.axes.names}")
    if not map.unit.is_equivalent(u.dimensionless_unscaled):
        raise UnitsError(f"{where}: expected counts without unit, found {unit_text(map.unit)}")
