"""Source catalogues: sources by name, as models, with their fluxes."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "CATALOG_REGISTRY": "registry",
    "CatalogNameError": "core",
    "MissingTemplateError": "fermi_shapes",
    "SourceCatalog": "core",
    "SourceCatalog2FHL": "fermi",
    "SourceCatalog3FGL": "fermi",
    "SourceCatalog3FHL": "fermi",
    "SourceCatalog4FGL": "fermi",
    "SourceCatalogObject": "core",
    "SourceCatalogObject2FHL": "fermi",
    "SourceCatalogObject3FGL": "fermi",
    "SourceCatalogObject3FHL": "fermi",
    "SourceCatalogObject4FGL": "fermi",
    "read_catalog": "registry",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
