"""Source maps that are kept between fits of one dataset, for as long as its responses stay as they are.

Most of the time of a fit of many sources goes into their source maps. Those of fixed morphologies are
the same in the next fit. They are known by their contents, exposure and PSF included, so that nothing
that is changed in place is overlooked.
"""

import hashlib
from collections.abc import Hashable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

__all__ = ["fingerprint", "kept_sources", "limit_sources", "source_key"]

#: Bytes of source maps that a dataset keeps.
_MOST_BYTES = 2_000_000_000

_KEPT: WeakKeyDictionary[Any, tuple[str, dict[Hashable, Any]]] = WeakKeyDictionary()


def fingerprint(parts: Iterable[Any]) -> str:
    """Return a digest of arrays, maps, responses and texts.

    Examples
    --------
    >>> fingerprint([np.ones(3), "a"]) == fingerprint([np.ones(3), "a"])
    True
    >>> fingerprint([np.ones(3)]) == fingerprint([np.zeros(3)])
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(type(part).__name__.encode())
        for piece in _pieces(part):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(part: Any) -> Iterable[Any]:
    if isinstance(part, np.ndarray):
        yield str((part.dtype, part.shape)).encode()
        yield np.ascontiguousarray(part).data
        return
    for name in ("psf_map", "edisp_map", "edisp_kernel_map", "psf_kernel_map"):
        inner = getattr(part, name, None)
        if inner is not None:
            yield from _pieces(inner)
            return
    if hasattr(part, "geom") and hasattr(part, "data"):
        yield from _pieces(part.geom)
        yield str(part.unit).encode()
        yield from _pieces(np.asarray(part.data))
        return
    if hasattr(part, "pdf_matrix"):
        yield from _pieces(np.asarray(part.pdf_matrix))
        return
    header = part.wcs.to_header_string() if hasattr(part, "wcs") else ""
    edges = [axis.edges.to_string() for axis in getattr(part, "axes", ())]
    yield f"{part if isinstance(part, str) else ''}{header}{edges}{getattr(part, 'data_shape', '')}".encode()


def kept_sources(dataset: Any, parts: Iterable[Any]) -> dict[Hashable, Any]:
    """Return what a dataset keeps: empty if any of the parts that it depends on has changed."""
    digest = fingerprint(parts)
    known, kept = _KEPT.get(dataset, ("", {}))
    if known != digest:
        kept = {}
        _KEPT[dataset] = digest, kept
    return kept


def limit_sources(kept: dict[Hashable, Any]) -> None:
    """Drop the oldest source maps where they are too many."""
    sizes = {key: value[1].nbytes for key, value in kept.items() if _is_source(key)}
    total = sum(sizes.values())
    for key, size in sizes.items():
        if total <= _MOST_BYTES:
            return
        del kept[key]
        total -= size


def _is_source(key: Hashable) -> bool:
    return isinstance(key, tuple) and key[0] == "source"


def source_key(model: Any) -> Hashable | None:
    """Return what identifies a model's source map; `None` if it is free, or isn't known by its contents."""
    spatial = model.spatial_model
    if spatial is None or any(not p.frozen for p in spatial.parameters):
        return None
    pure = spatial.pure()
    if pure.evaluate is not None or spatial.is_point:
        data = fingerprint([np.asarray(a) for a in pure.arrays])
    elif hasattr(spatial, "map"):
        data = fingerprint([spatial.map, repr(getattr(spatial, "_options", ""))])
    else:
        return None
    values = tuple(float(p.engine_value) for p in spatial.parameters)
    return "source", pure.key, values, spatial.frame, tuple(sorted(model.apply_irf.items())), data
