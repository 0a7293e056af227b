"""Keys of fermipy's configuration that mean nothing here, and why."""

from __future__ import annotations

__all__ = ["REFUSED", "TOLD"]

_LOGGING = "messages go to Python's logging, to the logger 'villard'"
_SELECTED = "the selection of events was made when the cube was binned"
_OF_THE_CUBE = "pixels and energies are those of the cube"
_ONE_CALL = "pixels, bins and profiles are computed in batches, in one process"

#: Keys that change nothing: they are taken out, and why is logged. A text in the place of a section stands
#: for all of its keys; "*" for all sections.
TOLD: dict[str, str | dict[str, str]] = {
    "*": {
        "multithread": _ONE_CALL,
        "nthread": _ONE_CALL,
        "ra_format": "coordinates are in degrees",
        "chatter": _LOGGING,
        "verbosity": _LOGGING,
    },
    "logging": _LOGGING,
    "ltcube": "livetime cubes aren't made here; give the exposure that gtexpcube2 made of one",
    "data": {
        "evfile": "events are binned with gtbin; give the cube as data.counts",
        "ltcube": "give the exposure that gtexpcube2 made of it",
        "scfile": "give the exposure that gtexpcube2 made of it",
        "cacheft1": "events aren't read",
    },
    "selection": {
        "convtype": _SELECTED,
        "evclass": _SELECTED,
        "evtype": _SELECTED,
        "filter": _SELECTED,
        "radius": _SELECTED,
        "roicut": _SELECTED,
        "tmax": _SELECTED,
        "tmin": _SELECTED,
        "zmax": _SELECTED,
    },
    "binning": {
        "binsperdec": _OF_THE_CUBE,
        "enumbins": _OF_THE_CUBE,
        "hpx_ebin": _OF_THE_CUBE,
        "hpx_order": _OF_THE_CUBE,
        "hpx_ordering_scheme": _OF_THE_CUBE,
        "npix": _OF_THE_CUBE + "; give roiwidth to use a part of it",
        "projtype": _OF_THE_CUBE,
    },
    "model": {
        "extract_diffuse": "diffuse cubes are cut to the region as they are used",
    },
    "gtlike": {
        "edisp_bins": "the full matrix is used, with margin bins where the file has them",
        "irfs": "responses are read from files: exposure, psf, edisp",
        "minbinsz": "the PSF is integrated over pixels to 0.1 %",
        "resample": "the PSF is integrated over pixels to 0.1 %",
        "rfactor": "the PSF is integrated over pixels to 0.1 %",
        "use_scaled_srcmap": "source maps aren't files here",
    },
    "fileio": {
        "logfile": _LOGGING,
        "outdir_regex": "files are written where they belong",
        "savefits": "nothing is written but what is asked for",
        "scratchdir": "files are written where they belong",
        "usescratch": "files are written where they belong",
        "workdir": "there are no intermediate files",
        "workdir_regex": "there are no intermediate files",
    },
    "plotting": {"interactive": "plots are matplotlib's, and interactive where its backend is"},
    "lightcurve": {
        "use_local_ltcube": "exposures of the bins are those of their files",
        "use_scaled_srcmap": "exposures of the bins are those of their files",
    },
    "tscube": {
        "init_lambda": "the damping of the steps is chosen by the minimiser",
        "remake_test_source": "the PSF of the test source is that at its pixel",
        "st_scan_level": "all norms are refitted in every pixel",
        "tol_type": "the tolerance is that of ln L",
    },
    "psmap": {
        "cmap": "see plotting.cmap",
        "mmap": "the model is that of the region",
        "outfile": "name it as an argument of psmap",
        "psfpar0lst": "one radius is used for all components",
        "wmap": "weights are those of the datasets",
    },
}

#: Keys that would change the result, for which something else must be done.
REFUSED: dict[str, dict[str, str]] = {
    "selection": {
        "phasemin": "select phases when binning the events",
        "phasemax": "select phases when binning the events",
    },
    "gtlike": {
        "bexpmap_base": "give the exposure of each component as gtlike.bexpmap, or its key exposure",
        "bexpmap_roi": "give the exposure of each component as gtlike.bexpmap, or its key exposure",
        "bexpmap_roi_base": "give the exposure of each component as gtlike.bexpmap, or its key exposure",
        "src_expscale": "scale the exposure of a component by expscale, or the norm of the source",
        "srcmap": "source maps are computed from exposure and PSF",
        "srcmap_base": "source maps are computed from exposure and PSF",
        "use_external_srcmap": "source maps are computed from exposure and PSF",
    },
}
