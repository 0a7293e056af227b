"""Small regions of interest, and the files of the Fermi tools that would hold them."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from villard.datasets import MapDataset
from villard.irf import PSFMap
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from villard.roi import ROI

EDGES = np.geomspace(1e4, 1e5, 4)  # MeV
NPIX = 20


def point(name, lon, lat=0.0, amplitude="2e-13 cm-2 s-1 MeV-1", reference="20 GeV", index=2.0):
    place = PointSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg", frame="galactic")
    spectrum = PowerLawSpectralModel(index=index, amplitude=amplitude, reference=reference)
    return SkyModel(spectrum, place, name=name)


def toy_dataset(name="a", models=(), seed=1):
    axis = MapAxis.from_energy_edges(EDGES, unit="MeV")
    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, npix=NPIX, axes=[axis])
    true = geom.as_energy_true()
    dataset = MapDataset(
        counts=WcsNDMap(geom, data=np.zeros(geom.data_shape)),
        exposure=WcsNDMap(true, data=np.full(geom.data_shape, 1e11), unit="cm2 s"),
        psf=PSFMap.from_gauss(true.axes["energy_true"], sigma="0.15 deg"),
        background=WcsNDMap(geom, data=np.full(geom.data_shape, 0.5)),
        name=name,
    )
    dataset.models = list(models)
    dataset.fake(seed)
    return dataset


def toy_roi(**kwargs):
    models = [point("A far", 0.6), point("B near", 0.1, 0.1, amplitude="4e-13 cm-2 s-1 MeV-1")]
    catalog = {
        "A far": {"ASSOC1": "M 31", "CLASS": "psr"},
        "B near": {"ASSOC1": "M 31", "ASSOC_TEV": "TeV J1"},
    }
    return ROI(toy_dataset(models=models), models, catalog=catalog, **kwargs)


# Files


def _counts_hdus(counts, edges, event_type=None):
    primary = fits.PrimaryHDU(counts)
    header = primary.header
    n = counts.shape[-1]
    for i, (kind, center) in enumerate([("GLON-CAR", 0.0), ("GLAT-CAR", 0.0)], start=1):
        header[f"CTYPE{i}"], header[f"CRVAL{i}"], header[f"CRPIX{i}"] = kind, center, n / 2 + 0.5
        header[f"CDELT{i}"], header[f"CUNIT{i}"] = (-0.1 if i == 1 else 0.1), "deg"
    header["CTYPE3"], header["CRPIX3"], header["CRVAL3"], header["CDELT3"] = "Energy", 1.0, edges[0], 1.0
    if event_type is not None:
        header["DSTYP1"], header["DSVAL1"] = f"BIT_MASK(EVENT_TYPE,{event_type},P8R3)", "1:1"
    ebounds = Table(
        {"CHANNEL": np.arange(1, len(edges)), "E_MIN": edges[:-1] * 1e3, "E_MAX": edges[1:] * 1e3}
    )
    ebounds["E_MIN"].unit = ebounds["E_MAX"].unit = "keV"
    return fits.HDUList([primary, fits.table_to_hdu(ebounds)])


def write_counts(path, edges=EDGES, event_type=None, npix=NPIX, seed=0):
    """Write a cube as gtbin does."""
    shape = (len(edges) - 1, npix, npix)
    # A source at longitude 0.2, latitude 0.1.
    y, x = np.mgrid[:npix, :npix] - (npix - 1) / 2
    source = 8 * np.exp(-0.5 * ((x + 2) ** 2 + (y - 1) ** 2) / 1.5**2)
    counts = np.random.default_rng(seed).poisson(2.0 + source, shape)
    hdus = _counts_hdus(counts.astype(np.int32), edges, event_type)
    hdus[1].name = "EBOUNDS"
    hdus.writeto(path)


def write_exposure(path, edges=EDGES, npix=NPIX, value=1e11):
    """Write a map as gtexpcube2 does: at the edges, a power law of slope 0.5."""
    data = value * np.sqrt(edges / edges[0])[:, None, None] * np.ones((len(edges), npix, npix))
    hdus = _counts_hdus(data, edges)[:1]
    hdus[0] = fits.PrimaryHDU(data.astype(np.float32), header=hdus[0].header)
    hdus[0].header["CTYPE3"] = "log_Energy"
    table = Table({"Energy": edges})
    table["Energy"].unit = "MeV"
    energies = fits.table_to_hdu(table)
    energies.name = "ENERGIES"
    fits.HDUList([hdus[0], energies]).writeto(path)


def write_psf(path, energies=None, sigma=0.15):
    """Write a table as gtpsf does: a Gaussian."""
    energies = np.geomspace(5e3, 4e5, 7) if energies is None else energies
    theta = np.linspace(0, 3, 200)
    psf = np.exp(-0.5 * (theta / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
    table = Table(
        {
            "Energy": energies,
            "Exposure": 1e11 * np.sqrt(energies / 1e4),
            "Psf": [psf] * len(energies),
        }
    )
    angles = Table({"Theta": theta})
    hdus = [fits.PrimaryHDU(), fits.table_to_hdu(table), fits.table_to_hdu(angles)]
    hdus[1].name, hdus[2].name = "PSF", "THETA"
    fits.HDUList(hdus).writeto(path)


def write_drm(path, edges=EDGES, margin=0, spread=0.2):
    """Write a matrix as gtdrm does: Gaussian in ln E, ``margin`` more bins of true energy on each side."""
    from scipy.stats import norm

    step = edges[1] / edges[0]
    true = edges[0] * step ** np.arange(-margin, len(edges) + margin)
    center = 0.5 * (np.log(true[:-1]) + np.log(true[1:]))
    matrix = np.diff(norm.cdf((np.log(edges) - center[:, None]) / spread), axis=1)
    n = len(edges) - 1
    table = Table(
        {
            "ENERG_LO": true[:-1],
            "ENERG_HI": true[1:],
            "N_GRP": np.ones(len(center), np.int16),
            "F_CHAN": np.ones((len(center), 1), np.int16),
            "N_CHAN": np.full((len(center), 1), n, np.int16),
            "MATRIX": matrix,
        }
    )
    table["ENERG_LO"].unit = table["ENERG_HI"].unit = "MeV"
    hdu = fits.table_to_hdu(table)
    hdu.name = "DRM"
    hdu.header["DETCHANS"] = n
    ebounds = _counts_hdus(np.zeros((n, 2, 2)), edges)[1]
    ebounds.name = "EBOUNDS"
    fits.HDUList([fits.PrimaryHDU(), ebounds, hdu]).writeto(path)


def write_isotropic(path, low=30.0, high=1e6):
    energy = np.geomspace(low, high, 20)
    np.savetxt(path, np.transpose([energy, 1e-11 * (energy / 1e4) ** -2.4, np.ones(20)]))


def write_galactic(path, npix=40, binsz=0.125, high=1e6):
    """Write a cube as gll_iem: brightness in directions and at energies."""
    from villard.maps import Map

    axis = MapAxis.from_nodes(np.geomspace(100, high, 12), unit="MeV", name="energy_true", interp="log")
    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=binsz, npix=npix, axes=[axis])
    energy = axis.center.value[:, None, None]
    lat = geom.get_coord().lat.to_value("deg")
    data = 1e-9 * (energy / 1e4) ** -2.5 * np.exp(-np.abs(lat))
    Map.from_geom(geom, data=data, unit="cm-2 s-1 MeV-1 sr-1").write(path)


def write_all(folder, margin=1):
    """Write files of all kinds; return a configuration that names them."""
    write_counts(folder / "counts.fits", event_type=4)
    write_exposure(folder / "exposure.fits")
    write_psf(folder / "psf.fits")
    write_drm(folder / "drm.fits", margin=margin)
    write_isotropic(folder / "iso.txt")
    write_galactic(folder / "galactic.fits")
    source = {
        "name": "source",
        "glon": 0.2,
        "glat": 0.1,
        "SpectrumType": "PowerLaw",
        "SpatialModel": "PointSource",
    }
    source |= {"Index": 2.2, "Prefactor": 2e-13, "Scale": 2e4}
    files = {key: str(folder / f"{key}.fits") for key in ("counts", "exposure", "psf")}
    return {
        "data": files | {"edisp": str(folder / "drm.fits")},
        "selection": {"glon": 0, "glat": 0},
        "model": {
            "isodiff": str(folder / "iso.txt"),
            "galdiff": str(folder / "galactic.fits"),
            "sources": [source],
        },
    }
