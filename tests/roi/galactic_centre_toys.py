"""The public 3FHL cube of the Galactic Centre, its responses, and the sources of the catalogue in it."""

import astropy.units as u
import numpy as np
from astropy.table import Table

from villard.irf import PSFMap
from villard.maps import Map
from villard.modeling.models import (
    DiskSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
)


def responses(folder):
    base = folder / "fermi-3fhl-gc"
    counts = Map.read(base / "fermi-3fhl-gc-counts-cube.fits.gz")
    exposure = Map.read(base / "fermi-3fhl-gc-exposure-cube.fits.gz")
    psf = PSFMap.read(base / "fermi-3fhl-gc-psf-cube.fits.gz", format="gtpsf")
    return counts, exposure, psf


def models(folder):
    path = folder / "catalogs" / "fermi" / "gll_psch_v13.fit.gz"
    table, extended = Table.read(path, hdu=1), Table.read(path, hdu="ExtendedSources")
    lon = (np.asarray(table["GLON"], dtype=float) + 180) % 360 - 180
    shapes = {str(row["Source_Name"]).strip(): row for row in extended}
    found = []
    for row in table[(np.abs(lon) < 10) & (np.abs(table["GLAT"]) < 5)]:
        place = {"lon_0": row["GLON"] * u.deg, "lat_0": row["GLAT"] * u.deg, "frame": "galactic"}
        shape = shapes.get(str(row["Extended_Source_Name"]).strip())
        if shape is None:
            spatial = PointSpatialModel(**place)
        else:
            radius = np.sqrt(float(shape["Model_SemiMajor"]) * float(shape["Model_SemiMinor"]))
            spatial = DiskSpatialModel(r_0=radius * u.deg, **place)
        spectrum = PowerLawSpectralModel(
            index=float(row["Spectral_Index"]),
            amplitude=float(row["Flux_Density"]) * u.Unit("cm-2 s-1 GeV-1"),
            reference=float(row["Pivot_Energy"]) * u.GeV,
        )
        spectrum.amplitude.min = 0
        for parameter in (*spatial.parameters, spectrum.index):
            parameter.frozen = True
        found.append(SkyModel(spectrum, spatial, name=str(row["Source_Name"]).strip()))
    for name in ("gal", "iso"):
        cube = Map.read(folder / "fermi-extra" / f"fermi-3fhl-gc-background-{name}.fits.gz")
        template = TemplateNPredModel(cube, name=name)
        template.spectral_model.norm.min = 0
        found.append(template)
    return found


def norms(roi):
    return {
        source.name: source.model.spectral_model.parameters["norm" if source.is_diffuse else "amplitude"]
        for source in roi.sources
    }
