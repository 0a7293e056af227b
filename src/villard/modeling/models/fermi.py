"""Models of diffuse emission from files of the Fermi-LAT collaboration."""

import os
from typing import Any

import astropy.units as u
import numpy as np

from villard.exceptions import FileFormatError
from villard.modeling.models.component import check_names
from villard.modeling.models.sky import SkyModel
from villard.modeling.models.spatial.constant import ConstantSpatialModel
from villard.modeling.models.spectral.power_law import PowerLawNormSpectralModel
from villard.modeling.models.spectral.template import TemplateSpectralModel
from villard.utils.paths import make_path

__all__ = ["create_fermi_isotropic_diffuse_model"]


def create_fermi_isotropic_diffuse_model(
    filename: str | os.PathLike[str], datasets_names: str | list[str] | None = None, **kwargs: Any
) -> SkyModel:
    """Make the model of isotropic emission of a file such as ``iso_P8R3_SOURCE_V3_v1.txt``.

    The spectrum of the file times a `PowerLawNormSpectralModel`, whose norm is free, with the same
    brightness in all directions. It contains misclassified cosmic rays, which aren't reconstructed as
    photons are: PSF and energy dispersion aren't applied to it.

    Parameters
    ----------
    filename : str or path-like
        Text file: energies in MeV, fluxes in cm-2 s-1 MeV-1 sr-1 and, not used here, their errors.
    datasets_names : str or list of str, optional
        Datasets that it contributes to; all by default.
    **kwargs
        For `TemplateSpectralModel`, such as ``interp_kwargs``.

    Returns
    -------
    `SkyModel`
        Model called ``fermi-diffuse-iso``, or ``isotropic_<dataset>`` if there is one dataset.

    Raises
    ------
    FileFormatError
        If the file isn't there, or isn't such a table.
    """
    path = make_path(filename)
    if not path.is_file():
        raise FileFormatError(f"File of isotropic emission not found: {path}")
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        table = np.loadtxt(lines, ndmin=2) if lines else np.empty((0, 2))
    except (ValueError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: expected columns of numbers, energy and flux: {error}") from error
    if table.shape[0] < 2 or table.shape[1] < 2:
        raise FileFormatError(f"{path}: expected two or more energies and fluxes, found shape {table.shape}")
    if not (np.all(np.diff(table[:, 0], prepend=0) > 0) and np.all(table[:, 1] >= 0)):
        raise FileFormatError(f"{path}: energies must increase and fluxes must not be negative")
    names = check_names(datasets_names, "create_fermi_isotropic_diffuse_model")
    flux = u.Quantity(table[:, 1], "cm-2 s-1 MeV-1")
    template = TemplateSpectralModel(u.Quantity(table[:, 0], "MeV"), flux, **kwargs)
    return SkyModel(
        spectral_model=template * PowerLawNormSpectralModel(),
        spatial_model=ConstantSpatialModel(),
        name=f"isotropic_{names[0]}" if names is not None and len(names) == 1 else "fermi-diffuse-iso",
        datasets_names=names,
        apply_irf={"psf": False, "exposure": True, "edisp": False},
    )
