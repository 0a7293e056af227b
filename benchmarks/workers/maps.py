"""A case of the benchmark of maps, in one of the tools: ``python maps.py TOOL CASE``.

Both tools have the same names for the same things, so both run the very same lines.
"""

import importlib
import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import Table

warnings.simplefilter("ignore")

TOOL = sys.argv[1]
DATA = Path(os.environ["GAMMAPY_DATA"])
REPEATS = int(os.environ.get("BENCHMARK_REPEATS", "0"))
WIDTH = (12, 6)  # deg, of the region of interest of the catalogue sources


def module(name):
    """Import a module of the tool."""
    return importlib.import_module(f"{TOOL}.{name}")


def power_law(name, lon, lat, index, amplitude, reference):
    """Return a point source at Galactic coordinates."""
    models = module("modeling.models")
    return models.SkyModel(
        spectral_model=models.PowerLawSpectralModel(index=index, amplitude=amplitude, reference=reference),
        spatial_model=models.PointSpatialModel(lon_0=lon, lat_0=lat, frame="galactic"),
        name=name,
    )


def fermi():
    """Return the 3FHL cube of the Galactic centre."""
    path = DATA / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz"
    return module("datasets").MapDataset.read(path, name="fermi-3fhl-gc")


def galactic_centre(free_position):
    """Return the source at the Galactic centre."""
    source = power_law("source-gc", 0 * u.deg, 0 * u.deg, 2.7, "5.8e-10 cm-2 s-1 TeV-1", "100 GeV")
    for name in ("lon_0", "lat_0"):
        source.parameters[name].frozen = not free_position
    return source


def diffuse():
    """Return Galactic and isotropic emission."""
    models = module("modeling.models")
    galactic = models.SkyModel(
        spectral_model=models.PowerLawNormSpectralModel(),
        spatial_model=models.TemplateSpatialModel.read(
            DATA / "fermi-3fhl-gc" / "gll_iem_v06_gc.fits.gz", normalize=False
        ),
        name="diffuse-iem",
    )
    isotropic = models.create_fermi_isotropic_diffuse_model(
        DATA / "fermi_3fhl" / "iso_P8R2_SOURCE_V6_v06.txt"
    )
    return [galactic, isotropic]


def region_of_interest():
    """Return the inner part of the cube, without its background."""
    from astropy.coordinates import SkyCoord

    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    dataset = fermi().cutout(center, width=WIDTH * u.deg)
    dataset.background = dataset.mask_safe = None
    return dataset


def catalogue(free_index):
    """Return the sources of the 3FHL catalogue in the region of interest."""
    models = module("modeling.models")
    path = DATA / "catalogs" / "fermi" / "gll_psch_v13.fit.gz"
    table, extended = Table.read(path, hdu=1), Table.read(path, hdu="ExtendedSources")
    lon = (np.asarray(table["GLON"], dtype=float) + 180) % 360 - 180
    inside = (np.abs(lon) < WIDTH[0] / 2) & (np.abs(table["GLAT"]) < WIDTH[1] / 2)
    names = [str(n).strip() for n in extended["Source_Name"]]
    sources = []
    for row in table[inside]:
        name = str(row["Source_Name"]).strip()
        position = float(row["GLON"]) * u.deg, float(row["GLAT"]) * u.deg
        amplitude = float(row["Flux_Density"]) * u.Unit("cm-2 s-1 GeV-1")
        reference = float(row["Pivot_Energy"]) * u.GeV
        source = power_law(name, *position, float(row["Spectral_Index"]), amplitude, reference)
        shape = str(row["Extended_Source_Name"]).strip()
        if shape in names:
            radius = float(extended["Model_SemiMajor"][names.index(shape)]) * u.deg
            disk = models.DiskSpatialModel(lon_0=position[0], lat_0=position[1], r_0=radius, frame="galactic")
            source.spatial_model = disk
        for parameter in source.spatial_model.parameters:
            parameter.frozen = True
        source.spectral_model.index.frozen = not free_index
        sources.append(source)
    return sources


def cta():
    """Return the CTA cube, from 0.3 TeV on."""
    dataset = module("datasets").MapDataset.read(
        DATA / "cta-1dc-gc" / "cta-1dc-gc-small.fits.gz", name="cta-1dc-gc"
    )
    dataset.mask_fit = dataset.counts.geom.energy_mask(energy_min=0.3 * u.TeV)
    return dataset


def case_a():
    """Source with free position, and a background norm."""
    dataset = fermi()
    background = module("modeling.models").FoVBackgroundModel(dataset_name=dataset.name)
    return dataset, [galactic_centre(True), background]


def case_b():
    """Galactic and isotropic emission, and a source with free position."""
    return region_of_interest(), [galactic_centre(True), *diffuse()]


def case_c(free_index=False):
    """Galactic and isotropic emission, and 14 catalogue sources with free norms."""
    return region_of_interest(), [*catalogue(free_index), *diffuse()]


def case_d():
    """As case c, with free indices."""
    return case_c(True)


def case_e():
    """CTA cube, one source with free position and a cutoff, and a background norm."""
    models = module("modeling.models")
    dataset = cta()
    source = models.SkyModel(
        spectral_model=models.ExpCutoffPowerLawSpectralModel(
            index=2.3, amplitude="2.8e-12 cm-2 s-1 TeV-1", reference="1 TeV", lambda_="0.02 TeV-1"
        ),
        spatial_model=models.PointSpatialModel(lon_0="-0.05 deg", lat_0="-0.05 deg", frame="galactic"),
        name="gc-source",
    )
    return dataset, [source, models.FoVBackgroundModel(dataset_name=dataset.name)]


def run_fit(case):
    """Fit, again from the same start."""
    models = module("modeling.models")
    dataset, parts = case()
    dataset.models = models.Models(parts)
    datasets = module("datasets").Datasets([dataset])
    parameters = datasets.models.parameters.free_parameters
    start = [p.value for p in parameters]
    fit = module("modeling").Fit()
    times, results = [], []
    for _ in range(REPEATS + 1):
        for parameter, value in zip(parameters, start, strict=True):
            parameter.value = value
        begin = time.perf_counter()
        results.append(fit.run(datasets))
        times.append(time.perf_counter() - begin)
    result = results[-1]
    return times, {
        "success": bool(result.success),
        "total_stat": float(result.total_stat),
        "n_free": len(start),
        "n_bins": int(np.prod(dataset.data_shape)),
        "nfev": int(result.nfev),
    }


def run_ts_map():
    """Map the test statistic of a point source in the whole 3FHL cube, energies added up."""
    dataset = fermi()
    source = galactic_centre(False)
    source.spectral_model.index.value = 2.0
    estimator = module("estimators").TSMapEstimator(source, kernel_width=1 * u.deg)
    times = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        maps = estimator.run(dataset)
        times.append(time.perf_counter() - begin)
    ts = maps["ts"].data
    return times, {"n_pixels": int(np.isfinite(ts).sum()), "largest_ts": float(np.nanmax(ts))}


def main():
    case = sys.argv[2]
    times, info = run_ts_map() if case == "f" else run_fit(globals()[f"case_{case}"])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = {"first": times[0], "later": float(np.median(times[1:])) if times[1:] else None}
    print()
    print(json.dumps(report | info | {"memory_mib": round(memory)}))


if __name__ == "__main__":
    main()
