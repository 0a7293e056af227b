"""The background of maps, scaled to the counts beside the sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from villard.exceptions import ConfigError, DataError
from villard.makers.core import Maker
from villard.maps import Map

if TYPE_CHECKING:
    from villard.data.observation import Observation
    from villard.maps import WcsNDMap

__all__ = ["FoVBackgroundMaker"]


class FoVBackgroundMaker(Maker):
    """Scales the background to the counts in the field of view, outside of exclusions.

    Parameters
    ----------
    method : {"scale", "fit"}
        "scale": the norm is the ratio of counts (less what other models predict) to background. "fit": the
        free parameters of the background model are fitted, such as norm and tilt.
    exclusion_mask : `~villard.maps.WcsNDMap`, optional
        Image that is false where there may be sources; its pixels may be others.
    spectral_model : spectral model, optional
        Factor to the background as a function of energy; by default a `PowerLawNormSpectralModel` with a
        free norm.

    Examples
    --------
    >>> FoVBackgroundMaker(method="fit").method
    'fit'
    """

    tag: ClassVar[str] = "FoVBackgroundMaker"
    available_methods: ClassVar[tuple[str, ...]] = ("fit", "scale")

    def __init__(
        self, method: str = "scale", exclusion_mask: WcsNDMap | None = None, spectral_model: Any = None
    ) -> None:
        if method not in self.available_methods:
            raise ConfigError(f"{self.tag}: unknown method {method!r}, expected {self.available_methods}")
        self.method, self.exclusion_mask, self.spectral_model = method, exclusion_mask, spectral_model

    def _inside(self, dataset: Any) -> Map:
        """Return the bins that are used."""
        geom = dataset.counts.geom
        inside = np.ones(geom.data_shape, dtype=bool)
        for mask in (dataset.mask_safe, dataset.mask_fit):
            if mask is not None:
                inside &= mask.data
        if self.exclusion_mask is not None:
            inside &= _exclusion_on(self.exclusion_mask, geom)
        if not inside.any():
            raise DataError(
                f"{self.tag}: dataset {dataset.name!r} has no bin outside of exclusions and masks"
            )
        return Map.from_geom(geom, data=inside)

    def _model(self, dataset: Any) -> Any:
        from villard.modeling.models import FoVBackgroundModel

        if dataset.background_model is not None:
            return dataset.background_model
        spectral = None if self.spectral_model is None else self.spectral_model.copy()
        model = FoVBackgroundModel(
            spectral_model=spectral, dataset_name=dataset.name, name=f"{dataset.name}-bkg"
        )
        dataset.models = [*(dataset.models or []), model]
        return model

    def run(self, dataset: Any, observation: Observation | None = None) -> Any:
        """Return the dataset with a background model whose parameters are set.

        Parameters
        ----------
        dataset : `~villard.datasets.MapDataset`
            Dataset with counts and background.
        observation : `~villard.data.Observation`, optional
            Not used.

        Raises
        ------
        DataError
            If there are no bins, no background or no counts to scale it to.
        FitError
            If the fit fails.
        """
        if dataset.background is None:
            raise DataError(f"{self.tag}: dataset {dataset.name!r} has no background")
        inside, model = self._inside(dataset), self._model(dataset)
        if self.method == "fit":
            self._fit(dataset, inside)
        else:
            self._scale(dataset, inside.data, model)
        return dataset

    def _scale(self, dataset: Any, inside: Any, model: Any) -> None:
        counts = float(dataset.counts.data[inside].sum())
        signal = float(dataset.npred_signal().data[inside].sum()) if dataset._source_models else 0.0
        background = float(dataset.npred_background().data[inside].sum())
        parameter = model.spectral_model.parameters["norm"]
        if not (background > 0 and counts - signal > 0):
            raise DataError(
                f"{self.tag}: dataset {dataset.name!r} has {counts:g} counts outside of exclusions, where "
                f"{background:g} of background and {signal:g} of sources are expected: nothing to scale"
            )
        factor = (counts - signal) / background
        # The norm is that of the model as it was, times what is missing.
        parameter.error = parameter.value * np.sqrt(counts) / background
        parameter.value = parameter.value * factor

    def _fit(self, dataset: Any, inside: Map) -> None:
        from villard.exceptions import FitError
        from villard.modeling import Fit

        before = dataset.mask_fit
        frozen = [p for model in dataset._source_models for p in model.parameters if not p.frozen]
        try:
            dataset.mask_fit = inside
            for parameter in frozen:
                parameter.frozen = True
            result = Fit().run(dataset)
        finally:
            dataset.mask_fit = before
            for parameter in frozen:
                parameter.frozen = False
        if not result.success:
            raise FitError(f"{self.tag}: dataset {dataset.name!r}: {result.message}")


def _exclusion_on(mask: Any, geom: Any) -> Any:
    """Return a mask at the centres of the pixels of another geometry; true beyond its edges."""
    if not mask.is_mask:
        raise DataError("Exclusion mask: expected a boolean map, true where nothing is excluded")
    image = geom.to_image()
    if mask.geom.to_image() == image:
        return mask.data
    if not mask.geom.is_image:
        raise DataError("Exclusion mask: expected an image, or a map in the geometry of the counts")
    directions = image.skydirs()
    inside = mask.geom.contains(directions)
    result = np.ones(image.spatial_shape, dtype=bool)
    result[inside] = mask.get_by_coord({"skycoord": directions[inside]}) > 0
    return result
