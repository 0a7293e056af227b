"""Maps of fluxes: what follows from the norm, files, errors."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from villard.data.gti import GTI
from villard.estimators import FluxMaps
from villard.exceptions import DataError, FileFormatError, OverwriteError, UnitsError
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import PowerLawSpectralModel, SkyModel


def make_maps(**kwargs: object) -> FluxMaps:
    axis = MapAxis.from_energy_edges([1, 3, 10] * u.TeV)
    geom = WcsGeom.create(skydir=(10, 5), npix=(4, 3), binsz=0.1, axes=[axis])
    rng = np.random.default_rng(0)
    data = {
        name: WcsNDMap(geom, data=rng.uniform(1, 2, geom.data_shape))
        for name in (
            "norm",
            "norm_err",
            "norm_errn",
            "norm_errp",
            "norm_ul",
            "ts",
            "stat",
            "stat_null",
            "counts",
        )
    }
    data["norm"].data[0, 1, 2] = -0.5
    data["success"] = WcsNDMap(geom, data=np.ones(geom.data_shape, dtype=bool))
    data["niter"] = WcsNDMap(geom, data=np.full(geom.data_shape, 4))
    model = SkyModel(PowerLawSpectralModel(index=2.3, amplitude="3e-12 cm-2 s-1 TeV-1"), name="test")
    return FluxMaps(data, reference_model=model, meta={"n_sigma": 1, "n_sigma_ul": 3}, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["", "_err", "_errn", "_errp", "_ul"])
def test_fluxes_are_norm_times_reference(suffix: str) -> None:
    maps = make_maps()
    spectrum = maps.reference_spectral_model
    energy = maps.energy_ref
    expected = {
        "dnde": spectrum(energy),
        "e2dnde": spectrum(energy) * energy**2,
        "flux": spectrum.integral(maps.energy_min, maps.energy_max),
        "eflux": spectrum.energy_flux(maps.energy_min, maps.energy_max),
    }
    norm = maps["norm" + suffix].data
    for name, value in expected.items():
        item = getattr(maps, name + suffix)
        np.testing.assert_allclose(item.quantity.to_value(value.unit), norm * value.value.reshape(2, 1, 1))
        assert maps[name + suffix].unit == item.unit


def test_what_follows() -> None:
    maps = make_maps()
    assert maps.sqrt_ts.data[0, 1, 2] == -np.sqrt(maps.ts.data[0, 1, 2])
    assert np.all(maps.sqrt_ts.data.ravel()[:5] > 0)
    assert maps.is_ul.data.all()
    assert {"flux_ul", "sqrt_ts", "is_ul", "norm"} <= set(dir(maps))
    maps.meta["sqrt_ts_threshold_ul"] = 1.2
    np.testing.assert_array_equal(maps.is_ul.data, maps.sqrt_ts.data < 1.2)
    del maps._data["ts"]
    np.testing.assert_allclose(maps.ts.data, maps.stat_null.data - maps.stat.data)


def test_failed_fits_are_nan() -> None:
    maps = make_maps()
    maps.success.data[0, 0, 0] = False
    assert np.isnan(maps.flux.data[0, 0, 0])
    assert np.isnan(maps.flux.data).sum() == 1
    maps.filter_success_nan = False
    assert np.isfinite(maps.flux.data).all()


def test_flux_points() -> None:
    maps = make_maps()
    position = maps.geom.pix_to_skydir(2, 1)
    points = maps.get_flux_points(position)
    np.testing.assert_allclose(points.quantity("flux_ul").value, maps.flux_ul.data[:, 1, 2])
    np.testing.assert_allclose(points.quantity("sqrt_ts").value, maps.sqrt_ts.data[:, 1, 2])
    assert points.n_sigma_ul == 3
    with pytest.raises(DataError, match="outside"):
        maps.get_flux_points(SkyCoord(0, 0, unit="deg"))


@pytest.mark.parametrize("sed_type", ["likelihood", "dnde", "flux", "e2dnde", "eflux"])
def test_files(tmp_path: Path, sed_type: str) -> None:
    gti = GTI.create([0] * u.s, [100] * u.s)
    maps = make_maps(gti=gti)
    maps.write(tmp_path / "maps.fits", sed_type=sed_type)
    again = FluxMaps.read(tmp_path / "maps.fits")
    assert set(again.available_quantities) == set(maps.available_quantities)
    for name in maps.available_quantities:
        np.testing.assert_allclose(again[name].data, maps[name].data, rtol=1e-12)
    assert again.success.is_mask
    assert again.geom == maps.geom
    assert (again.n_sigma, again.n_sigma_ul) == (1, 3)
    assert again.gti.time_sum == gti.time_sum
    assert again.reference_spectral_model.index.value == 2.3
    assert again.reference_model.name == "test"


@pytest.mark.parametrize("sed_type", ["likelihood", "dnde", "flux", "e2dnde", "eflux"])
def test_other_representations(sed_type: str) -> None:
    maps = make_maps()
    again = FluxMaps.from_maps(maps.to_maps(sed_type), sed_type, maps.reference_model, meta=maps.meta)
    for name in ("norm", "norm_ul", "ts"):
        np.testing.assert_allclose(again[name].data, maps[name].data, rtol=1e-12)
    with pytest.raises(DataError, match="expected a map"):
        FluxMaps.from_maps({"ts": maps.ts}, sed_type)


def test_files_may_be_moved(tmp_path: Path) -> None:
    make_maps().write(tmp_path / "maps.fits")
    (tmp_path / "other").mkdir()
    for file in ("maps.fits", "maps.fits_model.yaml"):
        (tmp_path / file).rename(tmp_path / "other" / file)
    assert FluxMaps.read(tmp_path / "other/maps.fits").reference_spectral_model.index.value == 2.3
    (tmp_path / "other/maps.fits_model.yaml").unlink()
    with pytest.raises(FileFormatError, match="reference model"):
        FluxMaps.read(tmp_path / "other/maps.fits")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    maps = make_maps()
    (tmp_path / "maps.fits_model.yaml").write_text("mine")
    with pytest.raises(OverwriteError, match=r"model\.yaml"):
        maps.write(tmp_path / "maps.fits")
    assert not (tmp_path / "maps.fits").exists()
    maps.write(tmp_path / "maps.fits", overwrite=True)
    with pytest.raises(OverwriteError):
        maps.write(tmp_path / "maps.fits")


def test_damaged_files(tmp_path: Path) -> None:
    Map.create(npix=3, binsz=1).write(tmp_path / "image.fits")
    with pytest.raises(FileFormatError, match="SED_TYPE"):
        FluxMaps.read(tmp_path / "image.fits")
    maps = make_maps()
    maps.write(tmp_path / "maps.fits", sed_type="flux")
    with fits.open(tmp_path / "maps.fits") as hdulist:
        hdulist["FLUX"].header["BUNIT"] = "m"
        hdulist.writeto(tmp_path / "bad.fits")
    (tmp_path / "bad.fits_model.yaml").write_text((tmp_path / "maps.fits_model.yaml").read_text())
    with pytest.raises(UnitsError, match=r"bad.fits, flux"):
        FluxMaps.read(tmp_path / "bad.fits")


def test_bad_input() -> None:
    maps = make_maps()
    norm = maps.norm
    with pytest.raises(DataError, match="at least one map"):
        FluxMaps({})
    with pytest.raises(DataError, match=r"unknown quantity 'nrom'\. Did you mean 'norm'"):
        FluxMaps({"nrom": norm})
    with pytest.raises(DataError, match="another geometry"):
        FluxMaps({"norm": norm, "ts": norm.cutout(norm.geom.center_skydir, 0.2)})
    with pytest.raises(DataError, match="axis 'energy'"):
        FluxMaps({"norm": norm.to_image()})
    with pytest.raises(AttributeError, match="no quantity 'norm_sensitivity'"):
        _ = maps.norm_sensitivity
    assert not hasattr(maps, "flx")
    assert not maps.has("flux_sensitivity")


def test_text() -> None:
    text = str(make_maps())
    assert "PowerLawSpectralModel" in text
    assert "1 to 10 TeV in 2 bins" in text
    assert repr(make_maps()).startswith("FluxMaps(WcsGeom(")
