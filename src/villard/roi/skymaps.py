"""Maps of a region: test statistics, residuals, PS."""

from __future__ import annotations

from typing import Any

__all__ = ["SkyMaps"]


class SkyMaps:
    """The maps of a `villard.roi.ROI`."""

    def tsmap(self, prefix: str = "", **kwargs: Any) -> dict[str, Any]:
        """Fit the norm of a test source at each pixel; all other sources stay as they are.

        Parameters
        ----------
        prefix : str
            First part of file names. If it is given, maps are written.
        model : dict or `~villard.modeling.models.SkyModel`, optional
            Test source, as in fermipy: ``{"Index": 2.0, "SpatialModel": "PointSource"}``; "RadialGaussian"
            and "RadialDisk" have a ``SpatialWidth``, their 68 % containment radius (deg).
        exclude : list of str, optional
            Sources that are left out of the model, so that the map shows them.
        loge_bounds : (float, float), optional
            log10(energy / MeV) between which data are used.
        max_kernel_radius : float
            Most distance from the test source at which data are used (deg). It is less where the PSF
            reaches less far (99 %).
        write_fits : bool, optional
            Whether a file ``<prefix>_<source>_tsmap.fits`` is written; by default if there is a prefix.
        write_npy, make_plots, overwrite : bool
            Whether the dictionary and plots are written too, and whether existing files may be replaced.
        downsampling_factor, executor
            As for `villard.estimators.TSMapEstimator`.

        Returns
        -------
        dict
            Maps ``ts``, ``sqrt_ts``, ``npred`` (counts of the test source), ``amplitude`` and
            ``amplitude_err`` (its differential flux at its reference energy, 1 GeV unless ``Scale`` says
            otherwise); NaN where nothing is fitted, 0 where the norm would be negative. ``maps``:
            `~villard.estimators.FluxMaps` with negative norms, errors and fluxes. Also ``name``, ``file``,
            ``src_dict``, ``loglike`` and ``config``.
        """
        from villard.roi.tsmap import run_tsmap

        return run_tsmap(self, prefix, kwargs)

    def tscube(self, prefix: str = "", **kwargs: Any) -> dict[str, Any]:
        """Fit a test source at each pixel with all free norms refitted, and its norm in each bin of energy.

        Norms that are free now are refitted at each pixel, spectral shapes stay. No norm is negative.

        Parameters
        ----------
        prefix : str
            First part of file names. If it is given, a file is written.
        model, exclude, loge_bounds, max_kernel_radius
            As for `tsmap`.
        do_sed : bool
            Whether the norm is fitted in each bin of energy too.
        nnorm, norm_sigma : int, float
            Points of the likelihood profile in each bin of energy, and its half width in errors.
        cov_scale_bb : float
            If it is positive, refitted norms have a normal prior of their covariance times its square.
        cov_scale : float
            Negative: in bins of energy all other norms are those of the fit to all energies. Otherwise
            free norms are refitted in each bin, with a normal prior of the covariance of that fit times
            the square of this; 0 is no prior.
        tol, max_iter : float, int
            Distance to the maximum of ln L, and most steps.
        write_fits, write_npy, make_plots, overwrite
            As for `tsmap`; the file is ``<prefix>_<source>_tscube.fits``.

        Returns
        -------
        dict
            Maps ``ts``, ``sqrt_ts``, ``npred``, ``norm``, ``norm_err``, ``amplitude``, ``amplitude_err``;
            ``free_norms``: names of the refitted sources; ``sed``: cubes ``ts``, ``norm``, ``norm_err``,
            ``norm_ul`` (95 %), ``npred``, and profiles ``norm_scan``, ``dloglike_scan``, arrays of the
            shape (nnorm, n_energy, n_lat, n_lon); ``name``, ``file``, ``src_dict``, ``config``.
        """
        from villard.roi.tscube import run_tscube

        return run_tscube(self, prefix, kwargs)

    def residmap(self, prefix: str = "", **kwargs: Any) -> dict[str, Any]:
        """Compare counts and predicted counts, both smoothed by the shape of a test source.

        Parameters
        ----------
        prefix : str
            First part of file names. If it is given, maps are written.
        model, exclude, loge_bounds, max_kernel_radius
            As for `tsmap`.
        use_weights : bool
            Whether the weights of the likelihood are applied, where datasets have some.
        write_fits, write_npy, make_plots, overwrite
            As for `tsmap`; the file is ``<prefix>_<source>_residmap.fits``.

        Returns
        -------
        dict
            Maps ``sigma`` (significance of the difference), ``excess`` (counts of a source at the pixel),
            ``data`` and ``model`` (smoothed counts); ``name``, ``file``, ``src_dict``, ``config``.
        """
        from villard.roi.residmap import run_residmap

        return run_residmap(self, prefix, kwargs)

    def psmap(self, prefix: str = "", **kwargs: Any) -> dict[str, Any]:
        """Map of the probability of deviations between counts and model (Bruel 2021).

        Parameters
        ----------
        prefix : str
            First part of file names. If it is given, the map is written.
        emin, emax : float
            Energies (MeV) between which data are used; by default all.
        nbinloge : int
            Bins of log(energy) into which the counts are joined.
        psfpar0, psfpar1, psfpar2, psfpar3 : float
            Radius in which counts are added up, see `villard.roi.psmap.psf_like_radius`.
        fixedradius : float
            The same radius at all energies (deg), if it is positive.
        maxpoissoncount, prob_epsilon, nbinpdf, scaleaxis
            Precision, see `villard.roi.psmap.PSMapSettings`.
        ipix, jpix, dpix : int
            Only pixels around this one (counted from 1, as in FITS), at most ``dpix`` away.
        exclude : list of str, optional
            Sources that are left out of the model.
        write_fits, make_plots, overwrite
            As for `tsmap`; the file is ``<prefix>_psmap.fits``.

        Returns
        -------
        dict
            Maps ``psmap`` (-log10 of the probability, negative where there are too few counts) and
            ``psmapsigma``; ``psmax``, and where that is: ``coordname1``, ``coordname2``, ``coordx``,
            ``coordy``, ``ipix``, ``jpix`` (from 1), with its spectra ``datcts`` and ``modcts``; ``name``,
            ``file``, ``config``.
        """
        from villard.roi.psmap_run import run_psmap

        return run_psmap(self, prefix, kwargs)
