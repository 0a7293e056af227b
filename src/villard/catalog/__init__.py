"""Source catalogues: sources by name, as models, with their fluxes."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "CATALOG_REGISTRY": "registry",
    "CatalogNameError": "core",
    "IncompleteSourceError": "core",
    "MissingTemplateError": "fermi_shapes",
    "SourceCatalog": "core",
    "SourceCatalog1LHAASO": "lhaaso",
    "SourceCatalog2FHL": "fermi",
    "SourceCatalog2HWC": "hawc",
    "SourceCatalog3FGL": "fermi",
    "SourceCatalog3FHL": "fermi",
    "SourceCatalog3HWC": "hawc",
    "SourceCatalog4FGL": "fermi",
    "SourceCatalogGammaCat": "gammacat",
    "SourceCatalogHGPS": "hgps",
    "SourceCatalogLargeScaleHGPS": "hgps_large_scale",
    "SourceCatalogObject": "core",
    "SourceCatalogObject1LHAASO": "lhaaso",
    "SourceCatalogObject2FHL": "fermi",
    "SourceCatalogObject2HWC": "hawc",
    "SourceCatalogObject3FGL": "fermi",
    "SourceCatalogObject3FHL": "fermi",
    "SourceCatalogObject3HWC": "hawc",
    "SourceCatalogObject4FGL": "fermi",
    "SourceCatalogObjectGammaCat": "gammacat",
    "SourceCatalogObjectHGPS": "hgps",
    "SourceCatalogObjectHGPSComponent": "hgps",
    "read_catalog": "registry",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
