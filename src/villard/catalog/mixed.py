"""Catalogues in which not every source has all that a model needs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from villard.catalog.core import IncompleteSourceError, SourceCatalog, _flat
from villard.exceptions import ModelError

if TYPE_CHECKING:
    from villard.modeling.models import Models

__all__ = ["MixedCatalog"]

log = logging.getLogger(__name__)


class MixedCatalog(SourceCatalog):
    """Base class of catalogues in which not every source has a spectrum."""

    def to_models(self, incomplete: str = "skip", **kwargs: Any) -> Models:
        """Return models of all sources.

        Parameters
        ----------
        incomplete : {"skip", "error"}
            What happens with sources of which the catalogue has no spectrum: they are left out and a warning
            is logged that names them, or an error.
        **kwargs
            For `SourceCatalogObject.sky_model` of each.
        """
        from villard.modeling.models import Models

        if incomplete not in ("skip", "error"):
            raise ModelError(f"incomplete must be 'skip' or 'error', found {incomplete!r}")
        models, missing = [], []
        for source in self:
            try:
                models.append(source.sky_model(**kwargs))
            except IncompleteSourceError as error:
                missing.append(str(error))
        if missing and incomplete == "error":
            raise IncompleteSourceError("; ".join(missing))
        if missing:
            log.warning(
                "%s: %d sources are left out: %s", type(self).__name__, len(missing), "; ".join(missing)
            )
        return Models(_flat(models))
