"""What is known of a source of a catalogue, as text."""

from __future__ import annotations

from typing import Any

from villard.exceptions import DataError

__all__ = ["source_info"]

_PARTS = ("basic", "position", "model")


def source_info(source: Any, info: str = "all") -> str:
    """Return the parts asked for ("all", or some of "basic", "position", "model", separated by commas)."""
    parts = list(_PARTS) if info == "all" else [part.strip() for part in info.split(",")]
    unknown = [part for part in parts if part not in _PARTS]
    if unknown:
        raise DataError(f"info: expected 'all' or some of {', '.join(_PARTS)}, found {unknown[0]!r}")
    return "\n\n".join(
        {"basic": _basic, "position": _position, "model": _model}[part](source) for part in parts
    )


def _basic(source: Any) -> str:
    lines = ["*** Basic info ***", ""]
    lines.append(f"Catalog row index (zero-based) : {source.row_index}")
    lines.append(f"Source name                    : {source.name}")
    lines.append(f"Associations                   : {', '.join(source.associations) or '--'}")
    return "\n".join(lines)


def _position(source: Any) -> str:
    position = source.position
    lines = ["*** Position info ***", ""]
    for label, value in (("RA", position.icrs.ra), ("DEC", position.icrs.dec)):
        lines.append(f"{label:<30} : {value.deg:.3f} deg")
    for label, value in (("GLON", position.galactic.l), ("GLAT", position.galactic.b)):
        lines.append(f"{label:<30} : {value.deg:.3f} deg")
    return "\n".join(lines)


def _model(source: Any) -> str:
    return f"*** Model ***\n\n{source.sky_model()}"
