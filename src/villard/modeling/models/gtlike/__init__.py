"""Sources in the conventions of the Fermi tools (gtlike): names, signs, scales of parameters, XML files."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "GtlikeParameter": "names",
    "find_parameter": "names",
    "gtlike_name": "names",
    "gtlike_parameters": "names",
    "gtlike_value": "names",
    "index_parameters": "names",
    "model_from_dict": "dictionary",
    "norm_parameter": "names",
    "read_gtlike_xml": "xml_read",
    "set_gtlike_value": "names",
    "shape_parameters": "names",
    "spatial_type": "names",
    "spectrum_type": "names",
    "write_gtlike_xml": "xml_write",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
