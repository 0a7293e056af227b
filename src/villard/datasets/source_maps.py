"""Files of gtsrcmaps: sources whose convolved images were computed by the Fermi tools."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.datasets.map import MapDataset
from villard.exceptions import DataError, FileFormatError, ModelError
from villard.irf import EDispKernel
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap
from villard.maps.axis_hdu import axis_of_ebounds
from villard.maps.fits import open_fits
from villard.modeling.models import SkyModel, TemplateSpatialModel
from villard.utils.names import nearest

__all__ = ["SourceMapSpatialModel", "SourceMaps"]

Array = NDArray[np.float64]

#: Half width, in ln E, of the bins of true energy around the energies of a source map.
_NARROW = 1e-4
_OTHERS = ("PRIMARY", "GTI", "EBOUNDS", "ENERGIES")


class SourceMapSpatialModel(TemplateSpatialModel):
    """Image of a source in the pixels of a file of gtsrcmaps, exposure and PSF included.

    It is as bright anywhere in a pixel, and belongs to the dataset of its `SourceMaps` only.

    Parameters
    ----------
    map : `~villard.maps.WcsNDMap`
        Source map over solid angle (sr-1), along the axis "energy_true".
    **kwargs
        As for `~villard.modeling.models.TemplateSpatialModel`.
    """

    tag = ["SourceMapSpatialModel", "source-map"]

    def __init__(self, map: Any, **kwargs: Any) -> None:
        kwargs.pop("normalize", None)
        super().__init__(map, normalize=False, **kwargs)

    def __call__(self, lon: Any, lat: Any, energy: Any = None) -> u.Quantity:
        """Return the brightness in the pixel of each direction, at the nearest of the energies."""
        energy = u.Quantity(self._energy(energy), "TeV")
        lon, lat, energy = np.broadcast_arrays(lon, lat, energy, subok=True)
        rows, columns, inside = self._pixels(lon, lat)
        values = np.asarray(self.map.data)[self._nearest(energy), rows, columns]
        return u.Quantity(np.where(inside, values, 0.0), self.output_unit)

    def iter_energies(self, lon: Any, lat: Any, energy: Any) -> Iterator[u.Quantity]:
        """Give the brightness at one energy after the other."""
        rows, columns, inside = self._pixels(lon, lat)
        for index in self._nearest(u.Quantity(energy)):
            values = np.asarray(self.map.data)[index, rows, columns]
            yield u.Quantity(np.where(inside, values, 0.0), self.output_unit)

    def _pixels(self, lon: Any, lat: Any) -> tuple[Any, Any, Any]:
        from astropy.coordinates import SkyCoord

        geom: Any = self.map.geom
        x, y = geom.skydir_to_pix(SkyCoord(lon, lat, unit="deg", frame=self.frame))
        n_rows, n_columns = geom.spatial_shape
        inside = np.isfinite(x + y) & (np.abs(2 * x + 1 - n_columns) < n_columns)
        inside &= np.abs(2 * y + 1 - n_rows) < n_rows
        x, y = np.where(inside, x, 0), np.where(inside, y, 0)
        return (
            np.clip(np.round(y).astype(int), 0, n_rows - 1),
            np.clip(np.round(x).astype(int), 0, n_columns - 1),
            inside,
        )

    def _nearest(self, energy: u.Quantity) -> Any:
        nodes = np.log(self.map.geom.axes["energy_true"].center.to_value("TeV"))
        return np.argmin(np.abs(np.log(energy.to_value("TeV"))[..., np.newaxis] - nodes), axis=-1)


class SourceMaps:
    r"""Contents of a file of gtsrcmaps: counts, and the source map of each source.

    gtlike takes the counts of a source with the spectrum φ and the maps S at the edges of the bins for

    .. math:: m_k = \frac{1}{2} \ln\frac{E_{k+1}}{E_k}
              \left(\phi(E_k) E_k S_k + \phi(E_{k+1}) E_{k+1} S_{k+1}\right)

    The `dataset` has this rule as its response: narrow bins of true energy around the edges, and an energy
    dispersion that spreads each over the two bins beside it. So the likelihood, fits and estimators are the
    same as for any other dataset.

    Parameters
    ----------
    counts : `~villard.maps.WcsNDMap`
        Counts cube.
    maps : dict of str to array
        Source maps (cm2 s) by source, shape (n_energies + 1, n_y, n_x).
    name : str, optional
        Name of the dataset.

    Raises
    ------
    DataError
        If a source map has another shape than the edges of the counts cube.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 GeV", "100 GeV", nbin=2)
    >>> geom = WcsGeom.create(npix=4, binsz=1, axes=[axis])
    >>> maps = SourceMaps(WcsNDMap(geom), {"source": np.full((3, 4, 4), 1e10)}, name="toy")
    >>> model = maps.sky_model("source", "pl")
    >>> model.spectral_model.amplitude.quantity = "1e-12 cm-2 s-1 GeV-1"
    >>> maps.dataset.models = [model]
    >>> print(f"{maps.dataset.npred().data.sum():.4g}")
    2.229e+05
    """

    def __init__(self, counts: WcsNDMap, maps: dict[str, Any], name: str | None = None) -> None:
        self.counts = counts
        axis = counts.geom.axes["energy"]
        shape = (axis.nbin + 1, *counts.geom.spatial_shape)
        self.maps = {key: np.asarray(value, dtype=float) for key, value in maps.items()}
        for key, value in self.maps.items():
            if value.shape != shape:
                raise DataError(f"Source map {key!r}: expected the shape {shape}, found {value.shape}")
        self.dataset = _dataset(counts, name)

    @classmethod
    def read(cls, filename: str | os.PathLike[str], name: str | None = None) -> SourceMaps:
        """Read a file of gtsrcmaps.

        Parameters
        ----------
        filename : str or path-like
            FITS file.
        name : str, optional
            Name of the dataset.

        Raises
        ------
        FileFormatError
            If it isn't such a file.
        """
        where = str(filename)
        counts = WcsNDMap.read(filename)
        with open_fits(filename) as hdus:
            if "EBOUNDS" not in hdus:
                raise FileFormatError(f"{where}: no extension EBOUNDS, which files of gtsrcmaps have")
            axis = axis_of_ebounds(hdus["EBOUNDS"], where)
            maps = {
                hdu.header.get("EXTNAME", hdu.name): np.asarray(hdu.data, dtype=float)
                for hdu in hdus[1:]
                if hdu.name not in _OTHERS and hdu.is_image and hdu.data is not None
            }
        if not maps:
            raise FileFormatError(f"{where}: there is no source map in it")
        geom = counts.geom.to_image().to_cube([axis])
        if geom.data_shape != counts.data.shape:
            raise FileFormatError(
                f"{where}: expected counts in {axis.nbin} energies, found the shape {counts.data.shape}"
            )
        try:
            return cls(WcsNDMap(geom, data=np.asarray(counts.data, dtype=float)), maps, name)
        except DataError as error:
            raise FileFormatError(f"{where}: {error}") from error

    @property
    def names(self) -> list[str]:
        """Names of the sources."""
        return list(self.maps)

    def spatial_model(self, name: str) -> SourceMapSpatialModel:
        """Return the morphology of a source, of which the parameters are fixed.

        Raises
        ------
        ModelError
            If there is no such source map.
        """
        if name not in self.maps:
            raise ModelError(f"No source map {name!r}. {nearest(name, self.maps)}")
        geom = self.counts.geom.to_image()
        edges = self.counts.geom.axes["energy"].edges
        axis = MapAxis.from_nodes(edges, name="energy_true", interp="log")
        data = self.maps[name] / _areas(geom)
        return SourceMapSpatialModel(WcsNDMap(geom.to_cube([axis]), data=data, unit="sr-1"))

    def sky_model(self, name: str, spectral_model: Any) -> SkyModel:
        """Return the model of a source with a spectrum (or the tag of one)."""
        model = SkyModel.create(spectral_model, self.spatial_model(name), name=name)
        model.datasets_names = [self.dataset.name]
        return model

    def sky_models(self, models: Iterable[Any]) -> list[SkyModel]:
        """Return models, such as those of an XML file, with the morphologies of their source maps."""
        return [self.sky_model(model.name, model.spectral_model) for model in models]


def _areas(geom: WcsGeom) -> Array:
    """Solid angles of pixels, as the likelihood takes them."""
    from villard.likelihood.sky_grid import make_cutout

    return make_cutout(geom, geom.frame, geom.center_skydir, (0, 0), geom.spatial_shape).area


def _dataset(counts: WcsNDMap, name: str | None) -> MapDataset:
    """Make the dataset whose response is the quadrature of gtlike."""
    energy = counts.geom.axes["energy"]
    edges = energy.edges.to_value("TeV")
    if not len(edges) > 1 or np.any(np.diff(np.log(edges)) < 4 * _NARROW):
        raise DataError("SourceMaps: expected bins of energy wider than 0.04 %")
    bounds = np.ravel(np.stack([edges * np.exp(-_NARROW), edges * np.exp(_NARROW)], axis=-1))
    true = MapAxis.from_energy_edges(bounds * u.TeV, name="energy_true")
    width = np.diff(np.log(edges))
    matrix = np.zeros((true.nbin, energy.nbin))
    for k, size in enumerate(width):
        matrix[2 * k, k] = matrix[2 * k + 2, k] = size
    # The gaps between the narrow bins are never exposed. In a bin are 2 φ E times its half width.
    exposed = np.where(np.arange(true.nbin) % 2 == 0, 0.25 / _NARROW, 0.0)
    geom = counts.geom.to_image().to_cube([true])
    data = np.broadcast_to(exposed[:, np.newaxis, np.newaxis], geom.data_shape).copy()
    # Rows may add up to more than one where bins are wide: what is too much goes into the exposure.
    scale = max(1.0, float(matrix.sum(axis=1).max()))
    return MapDataset(
        counts=counts,
        exposure=Map.from_geom(geom, data=data * scale, unit="cm2 s"),
        edisp=EDispKernel([true, energy], matrix / scale),
        name=name,
    )
