"""Morphologies of the extended sources of Fermi-LAT catalogues."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.units as u

from villard.exceptions import FileFormatError, ModelError
from villard.utils.paths import make_path

__all__ = ["R68_PER_SIGMA", "MissingTemplateError", "extended_model", "find_template"]

#: Radius that contains 68 % of a two-dimensional Gaussian, in sigma: sqrt(-2 ln 0.32).
R68_PER_SIGMA = math.sqrt(-2 * math.log(1 - 0.68))
#: Folders of templates, the latest first.
_ARCHIVES = ("Extended_14years", "Extended_12years", "Extended_8years", "Extended_archive_*", "Extended*")


class MissingTemplateError(FileFormatError):
    """The file of the template of an extended source isn't there."""


def find_template(name: str, folders: list[Path]) -> Path | None:
    """Return the file of a template, compressed or not, in the first folder that has it."""
    for folder in folders:
        for candidate in (name, f"{name}.gz", name.removesuffix(".gz")):
            if (folder / candidate).is_file():
                return folder / candidate
    return None


def template_folders(directory: str | os.PathLike[str] | None, catalog: str | None) -> list[Path]:
    """Return the folders in which templates are looked for.

    ``directory`` (an archive, or its folder of templates) if it is given; otherwise the archives beside
    the catalogue, then that of the environment variable ``LATEXTDIR`` of the Fermi tools.
    """
    if directory is not None:
        roots = [make_path(directory)]
        if not roots[0].is_dir():
            raise FileFormatError(f"Folder of templates of extended sources not found: {roots[0]}")
    else:
        roots = []
        if catalog is not None:
            parent = make_path(catalog).parent
            roots = [path for pattern in _ARCHIVES for path in sorted(parent.glob(pattern), reverse=True)]
        if os.environ.get("LATEXTDIR"):
            roots.append(Path(os.environ["LATEXTDIR"]))
    folders = [folder for root in roots for folder in (root / "Templates", root)]
    return list(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def extended_model(row: Mapping[str, Any], folders: list[Path], where: str) -> Any:
    """Return the morphology of a row of the table of extended sources.

    Disks and Gaussians are made from their sizes: ``Model_SemiMajor`` is the radius of a disk, and of a
    Gaussian the radius of 68 % containment. All else, and what the catalogue gives as a map on purpose, is
    read from its template.

    Parameters
    ----------
    row : dict
        Row of the table of extended sources.
    folders : list of path
        Where templates are looked for.
    where : str
        Name of the source, for messages.

    Raises
    ------
    MissingTemplateError
        If a template is needed whose file isn't there.
    """
    form, function = str(row["Model_Form"]).strip(), str(row.get("Spatial_Function", "")).strip()
    filename = Path(str(row.get("Spatial_Filename", "")).strip()).name
    if form in ("Disk", "2D Gaussian") and function != "SpatialMap":
        return _ellipse(form, row)
    if filename in ("", "."):
        raise ModelError(f"{where}: unknown morphology {form!r}, and there is no file of a template")
    path = find_template(filename, folders)
    if path is None:
        looked = ", ".join(str(folder) for folder in folders) or "no folder of templates was found"
        raise MissingTemplateError(f"{where}: the template {filename} was not found in: {looked}")
    return read_template(path)


def read_template(path: Path) -> Any:
    """Return the normalised morphology of a template file of the Fermi-LAT collaboration."""
    import warnings

    from villard.modeling.models import TemplateSpatialModel

    with warnings.catch_warnings():
        # Their headers have units like 'JY/BEAM', and keywords against the standard: only shapes count.
        warnings.simplefilter("ignore")
        return TemplateSpatialModel.read(path, normalize=True)


def _ellipse(form: str, row: Mapping[str, Any]) -> Any:
    from villard.modeling.models import DiskSpatialModel, GaussianSpatialModel

    major = float(u.Quantity(row["Model_SemiMajor"], "deg").value)
    minor = float(u.Quantity(row["Model_SemiMinor"], "deg").value)
    angle = float(u.Quantity(row["Model_PosAng"], "deg").value)
    shape: dict[str, Any] = {
        "lon_0": u.Quantity(row["RAJ2000"], "deg"),
        "lat_0": u.Quantity(row["DEJ2000"], "deg"),
        "frame": "icrs",
    }
    if minor != major:
        shape["e"] = math.sqrt(1 - (minor / major) ** 2)
        shape["phi"] = (90 - (90 - angle) % 180) * u.deg
    if form == "Disk":
        return DiskSpatialModel(r_0=major * u.deg, **shape)
    return GaussianSpatialModel(sigma=major / R68_PER_SIGMA * u.deg, **shape)
