"""Sections of a region's configuration that set what its methods do."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, field_validator, model_validator

from villard.config import Section
from villard.utils.names import nearest

__all__ = [
    "CurvatureConfig",
    "Dictionaries",
    "Entries",
    "ExtensionConfig",
    "FileioConfig",
    "LightcurveConfig",
    "LocalizeConfig",
    "LogeBounds",
    "McConfig",
    "Names",
    "OptimizerConfig",
    "Pars",
    "PlottingConfig",
    "PsmapConfig",
    "ResidmapConfig",
    "RoioptConfig",
    "SedConfig",
    "SourcefindConfig",
    "TscubeConfig",
    "TsmapConfig",
    "Width",
]


def _listed(value: Any) -> Any:
    """Return a list of what may be a single entry."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _pair(value: Any) -> Any:
    """Return (width, height) of what may be one number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"expected a width or [width, height] (deg), found {value!r}")
    return value


Entries = Annotated[list[str | dict[str, Any]], BeforeValidator(_listed)]
Dictionaries = Annotated[list[dict[str, Any]], BeforeValidator(_listed)]
Names = Annotated[list[str], BeforeValidator(_listed)]
Width = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(_pair)]
Pars = str | list[str] | None
LogeBounds = tuple[float | None, float | None] | None


class OptimizerConfig(Section):
    """Settings of `villard.roi.ROI.fit`."""

    optimizer: str = "NEWTON"
    tol: PositiveFloat = 1e-3
    max_iter: Annotated[int, Field(ge=1)] = 100
    init_lambda: PositiveFloat = 1e-4
    retries: Annotated[int, Field(ge=0)] = 3
    min_fit_quality: Annotated[int, Field(ge=0, le=3)] = 3

    @field_validator("optimizer")
    @classmethod
    def _known(cls, value: str) -> str:
        from villard.roi.fit import OPTIMIZERS

        if value.upper() not in OPTIMIZERS:
            raise ValueError(f"no optimizer {value!r}. {nearest(value.upper(), OPTIMIZERS)}")
        return value

    @model_validator(mode="after")
    def _with_quality(self) -> OptimizerConfig:
        # Defaults of the call rule where nothing is said; this one is stricter wherever there is a file.
        self.__pydantic_fields_set__.add("min_fit_quality")
        return self


class RoioptConfig(Section):
    """Settings of `villard.roi.ROI.optimize`."""

    npred_frac: Annotated[float, Field(gt=0, le=1)] = 0.95
    npred_threshold: float = 1.0
    shape_ts_threshold: float = 25.0
    max_free_sources: Annotated[int, Field(ge=0)] | None = 5
    skip: Names = []
    joint: bool = False


class FileioConfig(Section):
    """Where files go."""

    outdir: str | None = None
    overwrite: bool = True


class McConfig(Section):
    """Simulation."""

    seed: int | None = None


class _Output(Section):
    make_plots: bool = False
    write_fits: bool | None = None
    write_npy: bool | None = None


class SedConfig(_Output):
    """Settings of `villard.roi.ROI.sed`."""

    bin_index: float = 2.0
    cov_scale: PositiveFloat = 3.0
    free_background: bool = False
    free_pars: Pars = None
    free_radius: PositiveFloat | None = None
    ul_confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    ul_ts_threshold: float = 4.0
    use_local_index: bool = False


class CurvatureConfig(Section):
    """Settings of `villard.roi.ROI.curvature`."""

    Index2: float = 0.6667
    free_Index2: bool = False


class ExtensionConfig(_Output):
    """Settings of `villard.roi.ROI.extension`."""

    spatial_model: str = "RadialGaussian"
    width: list[float] | None = None
    width_min: PositiveFloat = 0.01
    width_max: PositiveFloat = 1.0
    width_nstep: Annotated[int, Field(ge=3)] = 21
    fit_ebin: bool = False
    fit_position: bool = False
    fix_shape: bool = False
    free_background: bool = False
    free_radius: PositiveFloat | None = None
    make_tsmap: bool = True
    psf_scale_fn: Any = None
    reoptimize: bool = False
    save_model_map: bool = False
    sqrt_ts_threshold: float | None = None
    tsmap_fitter: str = "tsmap"
    update: bool = False


class LocalizeConfig(_Output):
    """Settings of `villard.roi.ROI.localize`."""

    dtheta_max: PositiveFloat = 0.5
    nstep: Annotated[int, Field(ge=3)] = 5
    fix_shape: bool = False
    free_background: bool = False
    free_radius: PositiveFloat | None = None
    tsmap_fitter: str = "tsmap"
    update: bool = True


class _MapConfig(_Output):
    model: dict[str, Any] | None = None
    exclude: Names = []
    loge_bounds: LogeBounds = None


class ResidmapConfig(_MapConfig):
    """Settings of `villard.roi.ROI.residmap`."""

    use_weights: bool = False


class TsmapConfig(_MapConfig):
    """Settings of `villard.roi.ROI.tsmap`."""

    max_kernel_radius: PositiveFloat = 3.0


class TscubeConfig(_MapConfig):
    """Settings of `villard.roi.ROI.tscube`."""

    do_sed: bool = True
    cov_scale: float = -1.0
    cov_scale_bb: float = -1.0
    nnorm: Annotated[int, Field(ge=0)] = 10
    norm_sigma: PositiveFloat = 5.0
    tol: PositiveFloat = 1e-3
    max_iter: Annotated[int, Field(ge=1)] = 30


class PsmapConfig(_Output):
    """Settings of `villard.roi.ROI.psmap`."""

    emin: PositiveFloat = 100.0
    emax: PositiveFloat = 1e6
    nbinloge: int = 20
    nbinpdf: int = 50
    fixedradius: float = -1.0
    psfpar0: float = 4.0
    psfpar1: float = 100.0
    psfpar2: float = 0.9
    psfpar3: float = 0.1
    prob_epsilon: float = 1e-7
    maxpoissoncount: float = 100.0
    scaleaxis: float = 20.0
    ipix: int = -1
    jpix: int = -1
    dpix: int = -1
    exclude: Names = []


class SourcefindConfig(Section):
    """Settings of `villard.roi.ROI.find_sources`."""

    model: dict[str, Any] | None = None
    free_params: Pars = None
    max_iter: Annotated[int, Field(ge=1)] = 5
    min_separation: PositiveFloat = 1.0
    sources_per_iter: Annotated[int, Field(ge=1)] = 4
    sqrt_ts_threshold: float = 5.0
    tsmap_fitter: str = "tsmap"


class LightcurveConfig(_Output):
    """Settings of `villard.roi.ROI.lightcurve`."""

    binsz: PositiveFloat = 86400.0
    nbins: Annotated[int, Field(ge=1)] | None = None
    time_bins: list[float] | None = None
    free_background: bool = False
    free_params: Pars = None
    free_radius: PositiveFloat | None = None
    free_sources: Names = []
    max_free_sources: Annotated[int, Field(ge=0)] = 5
    outdir: str | None = None
    save_bin_data: bool = True
    shape_ts_threshold: float = 16.0
    systematic: Annotated[float, Field(ge=0)] = 0.02


class PlottingConfig(Section):
    """Looks of plots."""

    catalogs: Entries = []
    cmap: str = "magma"
    cmap_resid: str = "RdBu_r"
    figsize: tuple[PositiveFloat, PositiveFloat] = (8.0, 6.0)
    format: str = "png"
    graticule_radii: list[float] | None = None
    label_source: str | list[str] | None = None
    label_ts_threshold: float | None = 0.0
    loge_bounds: LogeBounds = None
