"""Files of maps and results, with the names that fermipy gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from villard.exceptions import ModelError
from villard.utils.io import atomic_write, check_overwrite
from villard.utils.paths import make_path

__all__ = [
    "are_alike",
    "default_overwrite",
    "files_of",
    "is_angle",
    "map_hdu",
    "product_path",
    "product_paths",
    "region_paths",
    "region_stem",
    "row_hdu",
    "total_map",
    "without_suffix",
    "write_maps",
    "write_npy",
]

#: Suffixes that may follow the name of a region.
_SUFFIXES = (".fits", ".fits.gz", ".yaml", ".yml", ".npy")


def _fileio(roi: Any, key: str, default: Any) -> Any:
    """Return a setting of the section "fileio", the default where a region has no configuration."""
    return getattr(getattr(getattr(roi, "config", None), "fileio", None), key, default)


def default_overwrite(roi: Any) -> bool:
    """Return whether files are replaced unless a call says otherwise."""
    return bool(_fileio(roi, "overwrite", False))


def without_suffix(path: Path) -> Path:
    """Return the name of a region without the end of one of its files."""
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix):
            return path.with_name(path.name.removesuffix(suffix))
    return path


def region_stem(roi: Any, outfile: str | os.PathLike[str]) -> Path:
    """Return the path of a region's files without suffix."""
    path = without_suffix(make_path(outfile))
    folder = _fileio(roi, "outdir", None)
    return path if folder is None or path.is_absolute() else make_path(folder) / path


def region_paths(roi: Any, outfile: str | os.PathLike[str]) -> list[Path]:
    """Return the files that `Files.write_roi` writes of every region."""
    tables, datasets, xml = files_of(region_stem(roi, outfile), roi)
    return [*tables.values(), *datasets.values(), *xml]


def files_of(stem: Path, roi: Any) -> tuple[dict[str, Path], dict[str, Path], list[Path]]:
    """Return the files of a region: of its tables and models, of each dataset, and for gtlike."""
    tables = {
        "tables": stem.with_name(f"{stem.name}.fits"),
        "models": stem.with_name(f"{stem.name}.yaml"),
    }
    datasets = {d.name: stem.with_name(f"{stem.name}_{d._name_in_files}.fits") for d in roi.datasets}
    return tables, datasets, [stem.with_name(f"{stem.name}_{i:02d}.xml") for i in range(len(roi.datasets))]


def product_path(roi: Any, *parts: str, suffix: str = ".fits", overwrite: bool = False) -> Path:
    """Return where a file goes, and raise before any work if it exists.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region; ``outdir`` of the section "fileio" of its configuration is the folder.
    *parts : str
        Parts of the name, joined by "_"; empty ones are left out.
    suffix : str
        End of the name.
    overwrite : bool
        Whether an existing file may be replaced.
    """
    folder = _fileio(roi, "outdir", None) or ""
    name = "_".join(part.replace(" ", "_").replace("/", "_").lower() for part in parts[1:] if part)
    name = "_".join(part for part in (parts[0], name) if part)
    return check_overwrite(os.path.join(os.fspath(folder), name + suffix), overwrite)


def product_paths(roi: Any, *parts: str, settings: Mapping[str, Any], plot: bool = False) -> dict[str, Path]:
    """Return the files that a method is to write, by their suffixes without the point.

    Parameters
    ----------
    roi, *parts
        As for `product_path`, which checks them before any work.
    settings : dict
        ``write_fits`` (if `None`, where the first part isn't empty), ``write_npy`` and ``overwrite``.
    plot : bool
        Whether ``make_plots`` of the settings asks for a file, too.
    """
    write_fits = bool(parts[0]) if settings["write_fits"] is None else settings["write_fits"]
    kinds = {"fits": write_fits, "npy": settings["write_npy"], "png": plot and settings["make_plots"]}
    return {
        kind: product_path(roi, *parts, suffix=f".{kind}", overwrite=settings["overwrite"])
        for kind, wanted in kinds.items()
        if wanted
    }


def write_maps(path: Path, primary: Any, maps: Mapping[str, Any], overwrite: bool = False) -> None:
    """Write maps into one FITS file, one HDU each.

    Parameters
    ----------
    path : `~pathlib.Path`
        File.
    primary : `~villard.maps.WcsNDMap`
        Map of the first HDU.
    maps : dict of str to `~villard.maps.WcsNDMap`
        Maps by the names of their HDUs.
    overwrite : bool
        Whether an existing file may be replaced.
    """
    from astropy.io import fits

    hdus = [map_hdu(primary), *(map_hdu(image, name) for name, image in maps.items())]
    with atomic_write(path, overwrite) as temporary:
        fits.HDUList(hdus).writeto(temporary, overwrite=True)


def map_hdu(image: Any, name: str | None = None) -> Any:
    """Return a map as an HDU: the first one of a file, or one with a name."""
    from astropy.io import fits

    if name is None:
        return fits.PrimaryHDU(_plain(image), _header(image))
    return fits.ImageHDU(_plain(image), _header(image), name=name)


def _plain(image: Any) -> Any:
    return np.asarray(image.data, dtype=float)


def _header(image: Any) -> Any:
    header = image.geom.wcs.to_header()
    unit = image.unit.to_string("fits") if str(image.unit) else ""
    if unit:
        header["BUNIT"] = unit
    return header


def row_hdu(result: Mapping[str, Any], name: str) -> Any:
    """Return the numbers, texts and covariances of a result as a table of one row, with units."""
    from astropy.io import fits
    from astropy.table import Table

    row = {key: v for key, v in result.items() if isinstance(v, float | int | bool | str) and key != "file"}
    table = Table([row])
    for key in row:
        if is_angle(key):
            table[key].unit = "deg"
    for key, unit in (("cov", "deg2"), ("corr", "")):
        for name_of in (f"pos_cel_{key}", f"pos_gal_{key}"):
            # Numbers where there is no ellipse.
            table[name_of] = np.broadcast_to(result[name_of], (1, 2, 2))
            table[name_of].unit = unit
    return fits.BinTableHDU(table, name=name)


def is_angle(key: str) -> bool:
    """Tell whether a result of `localize` or `extension` is an angle, by its name."""
    base = key.removesuffix("_preloc").removesuffix("_err")
    first = ("pos_r", "pos_err", "pos_angle", "pos_offset", "delta")
    widths = ("ext", "ext_err_hi", "ext_err_lo", "ext_ul95", "width")
    return base in ("ra", "dec", "glon", "glat", *widths) or key.startswith(first)


def write_npy(path: Path, result: Mapping[str, Any], overwrite: bool = False) -> None:
    """Write a dictionary of arrays, numbers and texts as fermipy does: a pickle in the format of numpy.

    Maps become their arrays.
    """
    plain = {key: _to_plain(value) for key, value in result.items()}
    with atomic_write(path, overwrite) as temporary, open(temporary, "wb") as file:
        np.save(file, np.array(plain, dtype=object), allow_pickle=True)


def _to_plain(value: Any) -> Any:
    if hasattr(value, "geom") and hasattr(value, "data"):
        return np.asarray(value.data)
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    simple = isinstance(value, str | int | float | bool | list | tuple | np.ndarray | np.generic | type(None))
    return value if simple else str(value)


def are_alike(maps: Sequence[Any]) -> bool:
    """Tell whether maps have the same pixels and energies."""
    first = maps[0].geom
    return all(
        item.geom._is_same_sky(first) and item.geom.axes["energy"].is_aligned_with(first.axes["energy"])
        for item in maps
    )


def total_map(maps: Sequence[Any], where: str) -> Any:
    """Return the sum of maps.

    Raises
    ------
    ModelError
        If they have different pixels or energies.
    """
    if not are_alike(maps):
        raise ModelError(
            f"{where}: the components have different pixels or energies, and can't be added up; "
            "generate_model gives them one by one"
        )
    return maps[0].copy(data=np.sum([item.data for item in maps], axis=0), unit="")
