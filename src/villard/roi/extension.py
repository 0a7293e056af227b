"""Extensions of sources: the profile likelihood in the width of a round shape."""

from __future__ import annotations

from typing import Any

from villard.roi.extension_fit import fit_extension

__all__ = ["DEFAULTS", "Extension"]

DEFAULTS: dict[str, Any] = {
    "spatial_model": "RadialGaussian",
    "width": None,
    "width_min": 0.01,
    "width_max": 1.0,
    "width_nstep": 21,
    "fit_position": False,
    "fit_ebin": False,
    "fix_shape": False,
    "free_background": False,
    "free_radius": None,
    "psf_scale_fn": None,
    "sqrt_ts_threshold": None,
    "update": False,
    "make_tsmap": True,
    "save_model_map": False,
    "make_plots": False,
    "write_fits": None,
    "write_npy": False,
    "overwrite": False,
    "prefix": "",
    "reoptimize": False,
    "tsmap_fitter": "tsmap",
    "ra_format": "hour",
    "loglevel": None,
}


class Extension:
    """The fit of extensions, for `villard.roi.ROI`."""

    def extension(self, name: str, **kwargs: Any) -> dict[str, Any]:
        """Test whether a source is extended, and find its width with errors and an upper limit.

        The source becomes a round one, whose width is the radius that contains 68 % of it. At each width its
        spectrum is refitted. The shape is convolved with the PSF as a radial profile, so that widths far
        below the size of a pixel are as exact as a point source, which is the limit of width 0.

        Parameters
        ----------
        name : str
            Source.
        spatial_model : {"RadialGaussian", "RadialDisk"}
            Shape.
        width : list of float, optional
            Widths of the profile (deg); by default ``width_nstep`` from ``width_min`` to ``width_max``,
            evenly spread in their logarithm. 0 is always among them.
        fit_position : bool
            Whether the position is fitted along with the width, for a point source too.
        fit_ebin : bool
            Whether the width is also fitted in each bin of energy.
        fix_shape, free_background, free_radius
            What is refitted, as for `localize`.
        psf_scale_fn : (list, list), optional
            log10(E / MeV) and relative corrections f of the PSF's width at these energies, for this source:
            it becomes wider by 1 + f, interpolated in the logarithm of the energy.
        sqrt_ts_threshold : float, optional
            The source is changed only if it is extended with at least this significance.
        update : bool
            Whether the source gets the shape, width and spectrum of the fit.
        make_tsmap : bool
            Whether the TS of a point source around the source is computed.
        save_model_map : bool
            Whether the predicted counts with the extended and with the point source are returned.
        prefix, write_fits, write_npy, make_plots, overwrite
            As for `tsmap`; files are called ``<prefix>_<source>_ext``.
        reoptimize, tsmap_fitter
            Kept for scripts of fermipy: what is refitted is refitted at every width.

        Returns
        -------
        dict
            ``ext`` (68 % containment radius, deg; at least 0.00316), ``ext_err``, ``ext_err_hi``,
            ``ext_err_lo`` (NaN where the likelihood doesn't fall that far down to 0), ``ext_ul95``,
            ``ts_ext``; the profile ``width``, ``loglike``, ``dloglike``; ``loglike_init``, ``loglike_base``
            (spectrum refitted), ``loglike_ptsrc``, ``loglike_ext``; position with errors as of `localize`;
            ``source_fit`` (values of the refitted parameters); ``ebin_…`` if asked for; ``tsmap``,
            ``ext_tot_map``, ``ext_src_map``, ``ext_bkg_map`` and the same with ``ptsrc`` if asked for
            (of several components the sum, and ``ext_tot_map_00``, … of each);
            ``name``, ``file``, ``config``.

        Raises
        ------
        ModelError
            If the source has no position.
        ConfigError
            If a setting is unknown or impossible.
        """
        return fit_extension(self, name, kwargs, DEFAULTS)
