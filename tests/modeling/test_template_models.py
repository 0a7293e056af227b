"""Morphologies given as maps, norms at nodes, and Fermi diffuse models: values, moves, files, damage."""

import json
import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import villard.modeling.models as vm
from villard._jax import jax, jnp
from villard.exceptions import DataError, FileFormatError, ModelError, UnitsError
from villard.maps import Map, MapAxis, WcsGeom
from villard.modeling.models import Models, PiecewiseNormSpatialModel, SkyModel, TemplateSpatialModel
from villard.modeling.parameter import Parameter

_PATH = Path(__file__).parents[1] / "reference" / "models_maps.json"
ENTRIES = {e["id"]: e for e in json.loads(_PATH.read_text())["entries"]}
AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")


def image(values=None, unit="sr-1", **kwargs):
    result = Map.create(**({"npix": (4, 3), "binsz": 0.5, "skydir": (10, 40)} | kwargs), unit=unit)
    result.data = 1 + np.arange(result.data.size, dtype=float).reshape(result.data.shape)
    if values is not None:
        result.data[...] = values
    return result


def check(entry, found):
    np.testing.assert_allclose(found, entry["expected"], rtol=entry["rtol"], atol=entry["atol"])


# Values


@pytest.mark.parametrize("name", ["template.iem_gc", "template.iem_crab"])
def test_diffuse_models(gammapy_data, name):
    entry = ENTRIES[name]
    inputs = entry["inputs"]
    model = TemplateSpatialModel.read(inputs["file"], normalize=False)
    assert model.is_energy_dependent
    assert model.values_scale == "log"
    assert model.output_unit == u.Unit("cm-2 s-1 MeV-1 sr-1")
    energy = np.array(inputs["energy_GeV"])[:, None] * u.GeV
    check(entry, model(inputs["lon"] * u.deg, inputs["lat"] * u.deg, energy).to_value(inputs["unit"]))


@pytest.mark.parametrize("normalize", [True, False])
def test_cube(normalize):
    entry = ENTRIES[f"template.ramp.normalize_{normalize}"]
    inputs = entry["inputs"]
    cube = image(axes=[AXIS], frame="galactic")
    model = TemplateSpatialModel(cube, normalize=normalize)
    energy = np.array(inputs["energy_TeV"])[:, None] * u.TeV
    if normalize:
        # Gammapy divides by the sum of the values and by the solid angle of each pixel, which isn't quite the
        # same in all rows: the values are taken for flux per pixel, though they are brightness.
        entry = {**entry, "rtol": 1e-4}
    check(entry, model(inputs["lon"] * u.deg, inputs["lat"] * u.deg, energy).value)
    same = TemplateSpatialModel(cube.rename_axes("energy_true", "energy"), normalize=normalize)
    check(entry, same(inputs["lon"] * u.deg, inputs["lat"] * u.deg, energy).value)


def test_images_are_interpolated_linearly():
    model = TemplateSpatialModel(image(skydir=(0, 0)), normalize=False)
    # Columns rise by 1, towards smaller longitudes, and rows by 4; the slope goes on to the map's edge.
    lon, lat = np.array([0.1, -0.3, 0.99, 1.01, 0]), np.array([0.2, -0.1, 0.7, 0, 0.76])
    expected = 1 + (1.5 - lon / 0.5) + 4 * (1 + lat / 0.5)
    np.testing.assert_allclose(model(lon[:3] * u.deg, lat[:3] * u.deg).value, expected[:3], rtol=1e-10)
    np.testing.assert_array_equal(model(lon[3:] * u.deg, lat[3:] * u.deg).value, 0)
    log = TemplateSpatialModel(image(skydir=(0, 0)), normalize=False, interp_kwargs={"values_scale": "log"})
    corners = np.log(np.array([[6.0, 7], [10, 11]]))
    expected = np.exp(np.array([0.6, 0.4]) @ corners @ [0.7, 0.3])
    np.testing.assert_allclose(log(0.1 * u.deg, 0.2 * u.deg).value, expected, rtol=1e-10)


def test_power_laws_between_energies():
    """Where a cube has zeros it is linear on the sky and a power law in energy, as in the Fermi tools."""
    cube = image(axes=[AXIS], skydir=(0, 0))
    cube.data[0], cube.data[1] = 8.0, 2.0
    cube.data[:, 0, 0] = 0
    cube.data[0, 2, 3] = 0
    model = TemplateSpatialModel(cube, normalize=False)
    assert model.values_scale == "lin"
    first, last = AXIS.center
    at = np.sqrt(first * last)
    np.testing.assert_allclose(model(0.1 * u.deg, 0.2 * u.deg, at).value, 4)
    np.testing.assert_allclose(model(0.1 * u.deg, 0.2 * u.deg, [first, last] * 1).value, [8, 2])
    assert model(0.75 * u.deg, -0.5 * u.deg, at) == 0
    np.testing.assert_allclose(model(0.5 * u.deg, -0.5 * u.deg, at).value, 2)
    # From zero it rises linearly: there is no power law.
    np.testing.assert_allclose(model(-0.75 * u.deg, 0.5 * u.deg, at).value, 1)
    endless = TemplateSpatialModel(cube, normalize=False, interp_kwargs={"fill_value": None})
    far = 10 * last
    slope = np.log(4) / np.log(last / first)
    np.testing.assert_allclose(endless(0 * u.deg, 0 * u.deg, far).value, 2 * 10.0**-slope)
    assert model(0 * u.deg, 0 * u.deg, far) == 0


@pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT"])
def test_normalised(proj):
    template = image(npix=(40, 30), binsz=0.1, proj=proj)
    model = TemplateSpatialModel(template)
    total = np.sum(model.map.quantity * model.map.geom.solid_angle())
    np.testing.assert_allclose(total.to_value(""), 1, rtol=1e-12)
    finer = WcsGeom.create(npix=(160, 120), binsz=0.025, skydir=(10, 40), proj=proj)
    np.testing.assert_allclose(model.integrate_geom(finer).data.sum(), 1, rtol=1e-4)
    coarser = WcsGeom.create(npix=(12, 12), binsz=0.4, skydir=(10.03, 40.01), proj=proj)
    np.testing.assert_allclose(model.integrate_geom(coarser).data.sum(), 1, rtol=1e-2)
    np.testing.assert_allclose(model.integrate_geom(coarser, 20).data.sum(), 1, rtol=5e-4)


def test_whole_sky():
    """Pixels that aren't on the sky hold nothing, and are no holes."""
    template = Map.create(npix=None, binsz=2, proj="AIT", frame="galactic")
    off_sky = ~np.isfinite(template.geom.solid_angle().value)
    assert np.any(off_sky)
    template.data += 2
    template.data[off_sky] = np.nan
    model = TemplateSpatialModel(template)
    np.testing.assert_allclose(model([0, 100] * u.deg, [0, 20] * u.deg).value, 1 / (4 * np.pi), rtol=0.05)
    assert model.evaluation_radius == 180 * u.deg


def test_energy_of_one_bin_is_an_image():
    one = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1, name="energy_true")
    model = TemplateSpatialModel(image(axes=[one], skydir=(0, 0)), normalize=False)
    assert not model.is_energy_dependent
    np.testing.assert_allclose(model(0 * u.deg, 0 * u.deg).value, 6.5)


# Place


def test_place():
    model = TemplateSpatialModel(image(), normalize=False)
    assert model.frame == "icrs"
    assert model.position_lonlat == pytest.approx((10, 40))
    assert model.lon_0.frozen
    assert model.lat_0.frozen
    assert model.evaluation_bin_size_min.to_value("deg") == pytest.approx(0.5)
    assert 1 < model.evaluation_radius.to_value("deg") < 1.3
    assert model.to_region().shape == "box"
    pure = model.pure()
    assert pure.evaluate is None
    assert not model.is_point


def test_moved_template():
    """A template that is moved keeps its shape and its integral, also nearer to the pole."""
    fixed = TemplateSpatialModel(image(skydir=(0, 0)))
    moved = TemplateSpatialModel(image(skydir=(0, 0)), lon_0="200 deg", lat_0="70 deg")
    assert moved.position_lonlat == (200, 70)
    assert moved.map_center.separation(SkyCoord(0, 0, unit="deg")).deg < 1e-9
    start, stop = SkyCoord(0, 0, unit="deg"), SkyCoord(200, 70, unit="deg")
    angle, distance = [0, 40, 130, 270] * u.deg, [0.1, 0.5, 0.6, 0.3] * u.deg
    a, b = (center.directional_offset_by(angle, distance) for center in (start, stop))
    np.testing.assert_allclose(moved(b.ra, b.dec).value, fixed(a.ra, a.dec).value, rtol=1e-9)
    geom = WcsGeom.create(npix=100, binsz=0.03, skydir=(200, 70), proj="TAN")
    np.testing.assert_allclose(moved.integrate_geom(geom, 10).data.sum(), 1, rtol=2e-3)
    fixed.position = stop
    np.testing.assert_allclose(fixed(b.ra, b.dec).value, moved(b.ra, b.dec).value)


def test_free_position():
    """A template whose position is free is a smooth function of it: splines replace linear pieces."""
    geom = WcsGeom.create(npix=60, binsz=0.05, skydir=(10, 40), proj="TAN")
    shape = vm.GaussianSpatialModel(lon_0=10.1, lat_0=40.05, sigma=0.3, e=0.6)
    model = TemplateSpatialModel(Map.from_geom(geom, data=shape.evaluate_geom(geom).value, unit="sr-1"))
    model.lon_0.frozen = False
    pure = model.pure()
    assert pure.evaluate is not None
    lon, lat = np.meshgrid(np.linspace(9, 11, 41), np.linspace(39.3, 40.7, 41))
    peak = shape(10.1 * u.deg, 40.05 * u.deg).value
    for center in ((10, 40), (359.99, 75)):
        model.lon_0.value, model.lat_0.value = center
        x, y = lon - 10 + center[0], lat - 40 + center[1]
        found = pure.evaluate(x, y, center, pure.arrays)
        np.testing.assert_allclose(found, model(x * u.deg, y * u.deg).value, atol=5e-3 * peak)
    assert pure.evaluate(np.array(100.0), np.array(-40.0), (10, 40), pure.arrays) == 0
    arrays = tuple(jnp.asarray(a) for a in pure.arrays)
    weights = jnp.asarray(np.cos(lon * 3) * np.sin(lat * 5))

    def total(center):
        return jnp.sum(weights * pure.evaluate(jnp.asarray(lon), jnp.asarray(lat), center, arrays))

    start = jnp.array([10.013, 40.007])
    gradient = jax.jit(jax.grad(total))(start)
    difference = [(total(start + s) - total(start - s)) / 2e-6 for s in 1e-6 * np.eye(2)]
    np.testing.assert_allclose(gradient, difference, rtol=1e-3)
    assert np.all(np.isfinite(jax.hessian(total)(start)))
    huge = TemplateSpatialModel(Map.create(npix=(3000, 1), binsz=0.01).copy(data=np.ones((1, 3000))))
    huge.lon_0.frozen = False
    with pytest.raises(ModelError, match="freeze lon_0 and lat_0"):
        huge.pure()


# Files


def test_round_trip(tmp_path):
    cube = image(axes=[AXIS], unit="cm-2 s-1 TeV-1 sr-1", frame="galactic")
    template = TemplateSpatialModel(cube, normalize=False, interp_kwargs={"values_scale": "lin"})
    spectrum = vm.PowerLawNormSpectralModel(norm=1.1)
    Models([SkyModel(spectrum, template, name="diffuse")]).write(tmp_path / "models.yaml")
    new = Models.read(tmp_path / "models.yaml")["diffuse"]
    assert new.spatial_model.filename == str(tmp_path / "models_diffuse.fits")
    assert new.spatial_model.values_scale == "lin"
    assert not new.spatial_model.normalize
    point = (10.1 * u.deg, 40.2 * u.deg, 3 * u.TeV)
    np.testing.assert_allclose(new(*point).to_value("cm-2 s-1 TeV-1 sr-1"), 1.1 * template(*point).value)


GAMMAPY = """
components:
-   name: iem
    type: SkyModel
    spectral:
        type: PowerLawNormSpectralModel
        parameters:
        -   name: norm
            value: 1.2
    spatial:
        type: TemplateSpatialModel
        frame: galactic
        parameters:
        -   name: lon_0
            value: 184.5
            unit: deg
        -   name: lat_0
            value: -5.8125
            unit: deg
        filename: $GAMMAPY_DATA/fermi-3fhl-crab/Fermi-LAT-3FHL_iem.fits
        normalize: false
        unit: 1 / (MeV s sr cm2)
-   type: FoVBackgroundModel
    datasets_names:
    - x
    spectral:
        type: PowerLawNormSpectralModel
        parameters: []
    spatial:
        type: PiecewiseNormSpatialModel
        frame: galactic
        parameters:
        -   name: norm_0
            value: 1.0
        -   name: norm_1
            value: 2.0
        -   name: norm_2
            value: 1.0
        -   name: norm_3
            value: 2.0
        lon:
            data: [0.0, -359.0, 0.0, -359.0]
            unit: deg
        lat:
            data: [0.0, 0.0, 1.0, 1.0]
            unit: deg
"""


def test_file_of_gammapy(gammapy_data):
    models = Models.from_yaml(GAMMAPY)
    iem = models["iem"]
    assert iem.spatial_model.filename.startswith("$GAMMAPY_DATA")
    entry = ENTRIES["template.iem_crab"]
    inputs = entry["inputs"]
    point = inputs["lon"][1] * u.deg, inputs["lat"][1] * u.deg, inputs["energy_GeV"][3] * u.GeV
    np.testing.assert_allclose(iem(*point).to_value(inputs["unit"]), 1.2 * entry["expected"][3][1], rtol=2e-6)
    # Gammapy writes the longitude 1 deg as -359 deg.
    background = models["x-bkg"]
    np.testing.assert_allclose(background.evaluate(1 * u.TeV, 0.5 * u.deg, 0.5 * u.deg), 1.5, rtol=1e-6)
    assert Models.from_yaml(models.to_yaml()).to_yaml() == models.to_yaml()


def test_models_of_the_crab(gammapy_data):
    models = Models.read("$GAMMAPY_DATA/fermi-3fhl-crab/Fermi-LAT-3FHL_models.yaml")
    assert models.names == ["Crab Nebula", "Fermi-LAT-bkg"]
    old = Models.read("$GAMMAPY_DATA/tests/models/gc_example_models.yaml")
    assert old.names == ["gc", "gll_iem_v06_cutout", "gc-bkg", "g09", "g09-bkg"]
    assert old["gc-bkg"].spectral_model.norm.min == 0


# Damage


def holes():
    result = image()
    result.data[1, 1] = np.nan
    return result


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"map": holes()}, ModelError, "of a.fits: the template has holes: 1 of 12"),
        ({"map": image(0.0)}, ModelError, "can't be normalised, because its integral over the sky is 0"),
        ({"map": image(-1.0)}, ModelError, "can't be normalised"),
        ({"map": 3}, ModelError, "expected a map of the sky, found int"),
        ({"map": image(unit="cm2 s")}, UnitsError, "unit per solid angle, found cm2 s"),
        ({"map": image(axes=[MapAxis.from_edges([1, 2, 3], name="rad")])}, ModelError, "found .*rad"),
        ({"map": image(), "frame": "galactic"}, ModelError, "map is in the frame 'icrs'"),
        ({"map": image(), "interp_kwargs": {"values_scales": "log"}}, ModelError, "Did you mean"),
        ({"map": image(), "interp_kwargs": {"values_scale": "cubic"}}, ModelError, "'lin' or 'log'"),
        ({"map": image(), "interp_kwargs": {"method": "cubic"}}, ModelError, "'linear'"),
        ({"map": image(), "interp_kwargs": {"fill_value": "x"}}, ModelError, "number or None"),
        ({"map": image(), "sigma": 3}, ModelError, "no parameter 'sigma'"),
    ],
)
def test_templates_that_are_none(arguments, error, match):
    with pytest.raises(error, match=match):
        TemplateSpatialModel(**arguments, filename="a.fits")


def test_wrong_use(tmp_path, monkeypatch):
    model = TemplateSpatialModel(image(axes=[AXIS]))
    with pytest.raises(ModelError, match="depends on energy, which is missing"):
        model(0 * u.deg, 0 * u.deg)
    with pytest.raises(UnitsError, match="expected an energy, found deg"):
        model(0 * u.deg, 0 * u.deg, 0 * u.deg)
    with pytest.raises(ModelError, match="geometry with energies"):
        model.evaluate_geom(image().geom)
    with pytest.raises(UnitsError, match="spectrum times morphology must be in a unit like"):
        SkyModel(vm.PowerLawNormSpectralModel(), model, name="a")
    flux = TemplateSpatialModel(image(unit="cm-2 s-1 TeV-1 sr-1"), normalize=False)
    with pytest.raises(UnitsError, match="'a': spectrum times morphology"):
        SkyModel(vm.PowerLawSpectralModel(), flux, name="a")
    data = {"type": "TemplateSpatialModel", "filename": str(tmp_path / "no.fits")}
    with pytest.raises(DataError, match=r"no\.fits"):
        TemplateSpatialModel.from_dict(data)
    with pytest.raises(ModelError, match="expected 'filename'"):
        TemplateSpatialModel.from_dict({"type": "TemplateSpatialModel"})
    monkeypatch.delenv("VILLARD_NOWHERE", raising=False)
    with pytest.raises(DataError, match="VILLARD_NOWHERE"):
        TemplateSpatialModel.from_dict({**data, "filename": "$VILLARD_NOWHERE/a.fits"})


def test_reference_supernova_remnant(gammapy_data):
    """A template of the Fermi catalogues; the value is Gammapy's, which interpolates logarithms."""
    path = "$GAMMAPY_DATA/catalogs/fermi/Extended_14years/Templates/RXJ1713_2016_250GeV.fits.gz"
    model = TemplateSpatialModel.read(path, normalize=False, interp_kwargs={"values_scale": "log"})
    np.testing.assert_allclose(model([258.5, 0] * u.deg, -39.8 * u.deg).value, [3265.6559, 0], rtol=1e-6)
    linear = TemplateSpatialModel.read(path, normalize=False)
    np.testing.assert_allclose(linear(258.5 * u.deg, -39.8 * u.deg).value, 3265.6559, rtol=5e-3)


def test_templates_of_the_fermi_catalogue(gammapy_data):
    """Each of them is normalised, whatever its unit (JY/BEAM, None, ph/cm2/s/sr) and its projection."""
    files = sorted((gammapy_data / "catalogs/fermi/Extended_14years/Templates").glob("*.fits.gz"))
    assert len(files) > 20
    for path in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of astropy, on the headers of these files
            model = TemplateSpatialModel.read(path)
        total = np.nansum(model.map.quantity * model.map.geom.solid_angle())
        np.testing.assert_allclose(total.to_value(""), 1, rtol=1e-9, err_msg=path.name)
        lon, lat = (value * u.deg for value in model.position_lonlat)
        assert np.isfinite(model(lon, lat))
    unknown = next(path for path in files if path.name.startswith("HB9"))
    with pytest.raises(FileFormatError, match="BUNIT: unknown unit 'JY/BEAM'"):
        TemplateSpatialModel.read(unknown, normalize=False)


def test_flux_of_cubes_is_integrated_over_energy():
    """Spectrum times template, both power laws, in wide bins."""
    fine = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=60, name="energy_true")
    template = Map.create(npix=3, binsz=1, axes=[fine])
    template.data[...] = (fine.center.value**-1.5)[:, None, None]
    source = SkyModel(vm.PowerLawSpectralModel(), TemplateSpatialModel(template, normalize=False), name="a")
    edges = AXIS.edges.value
    geom = WcsGeom.create(npix=3, binsz=1, axes=[AXIS])
    flux = source.integrate_geom(geom)
    assert flux.unit == u.Unit("cm-2 s-1")
    expected = 1e-12 / 2.5 * (edges[:-1] ** -2.5 - edges[1:] ** -2.5)
    found = flux.data[:, 1, 1] / geom.to_image().solid_angle()[1, 1].value
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Morphologies of users that depend on energy


class ShrinkingSpatialModel(vm.SpatialModel):
    """A Gaussian whose size falls with energy, so that the spectrum is softer further out."""

    is_energy_dependent = True
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg")
    sigma = Parameter("sigma", "0.5 deg")
    slope = Parameter("slope", 0.3)

    @staticmethod
    def evaluate(lon, lat, energy, lon_0, lat_0, sigma, slope):
        shape = vm.GeneralizedGaussianSpatialModel.evaluate
        return shape(lon, lat, lon_0, lat_0, 2**0.5 * sigma * energy**-slope, 0.5, 0.0, 0.0)

    @property
    def evaluation_radius(self):
        return 5 * self.sigma.quantity


def test_morphology_of_a_user_that_depends_on_energy():
    model = ShrinkingSpatialModel(lon_0="10 deg", lat_0="20 deg")
    energy = np.array([1, 10])[:, None] * u.TeV
    found = model([10, 10.3] * u.deg, 20 * u.deg, energy)
    assert found.shape == (2, 2)
    for row, sigma in zip(found, (0.5, 0.5 * 10**-0.3), strict=True):
        gauss = vm.GaussianSpatialModel(lon_0=10, lat_0=20, sigma=sigma)
        np.testing.assert_allclose(row.value, gauss([10, 10.3] * u.deg, 20 * u.deg).value, rtol=1e-4)
    geom = WcsGeom.create(npix=100, binsz=0.05, skydir=(10, 20), axes=[AXIS])
    assert model.evaluate_geom(geom).shape == geom.data_shape
    np.testing.assert_allclose(model.integrate_geom(geom).data.sum(axis=(1, 2)), 1, rtol=1e-3)
    assert model.pure().evaluate is None
    assert model.position_lonlat == (10, 20)
    with pytest.raises(ModelError, match="depends on energy, which is missing"):
        model(10 * u.deg, 20 * u.deg)
    with pytest.raises(UnitsError, match="expected an energy, found m"):
        model(10 * u.deg, 20 * u.deg, 3 * u.m)
    source = SkyModel(vm.PowerLawSpectralModel(), model, name="a")
    assert source.integrate_geom(geom).data.shape == geom.data_shape


# Norms at nodes


@pytest.mark.parametrize("interp", ["lin", "log"])
def test_piecewise_reference(interp):
    entry = ENTRIES[f"piecewise.{interp}"]
    inputs = entry["inputs"]
    nodes = {key: inputs[key] * u.deg for key in ("lon", "lat")}
    model = PiecewiseNormSpatialModel(nodes, norms=inputs["norms"], interp=interp, frame="galactic")
    check(entry, model(inputs["at_lon"] * u.deg, inputs["at_lat"] * u.deg).value)
    lon, lat = model.coords
    np.testing.assert_allclose(model(lon, lat).value, inputs["norms"], rtol=1e-9)


def nodes(n=3):
    lon, lat = np.meshgrid(np.linspace(-2, 2, n), np.linspace(-1, 1, n))
    return {"lon": lon.ravel() * u.deg, "lat": lat.ravel() * u.deg}


def test_piecewise_is_constant_beyond_its_nodes():
    model = PiecewiseNormSpatialModel(nodes(), norms=np.arange(1, 10))
    np.testing.assert_allclose(model([-9, 9, 0, 2] * u.deg, [-9, 9, 30, 0] * u.deg).value, [1, 9, 8, 6])
    flat = PiecewiseNormSpatialModel(nodes())
    lon, lat = np.meshgrid(np.linspace(-3, 3, 31), np.linspace(-2, 2, 31))
    np.testing.assert_allclose(flat(lon * u.deg, lat * u.deg).value, 1, rtol=1e-9)


def test_piecewise_from_directions():
    sky = SkyCoord([0, 1, 0, 1], [0, 0, 1, 1], unit="deg", frame="galactic")
    model = PiecewiseNormSpatialModel(sky.icrs, frame="galactic")
    np.testing.assert_allclose(model.coords[1].value, [0, 0, 1, 1], atol=1e-9)
    geom = WcsGeom.create(npix=3, binsz=1)
    model = PiecewiseNormSpatialModel(geom.get_coord())
    assert len(model.parameters) == 9
    assert model.position is None
    assert model.output_unit == u.dimensionless_unscaled
    np.testing.assert_allclose(model.evaluate_geom(geom).value, 1)


@pytest.mark.parametrize("interp", ["lin", "log"])
def test_piecewise_derivatives(interp):
    model = PiecewiseNormSpatialModel(nodes(), norms=np.arange(1, 10), interp=interp)
    pure = model.pure()
    lon, lat = np.array([-1.3, 0.2, 5]), np.array([0.3, 0.9, 0])
    values = jnp.array(model.norms)

    def inner(values, lon, lat):
        return pure.evaluate(lon, lat, values, pure.arrays)

    for function in (inner, jax.jit(inner)):
        found = function(values, jnp.array(lon), jnp.array(lat))
        np.testing.assert_allclose(found, model(lon * u.deg, lat * u.deg).value, rtol=1e-9)
        jacobian = np.asarray(jax.jacfwd(function)(values, jnp.array(lon), jnp.array(lat)))
        for i in range(9):
            step = 1e-6 * np.eye(9)[i]
            plus, minus = (inner(model.norms + s, lon, lat) for s in (step, -step))
            np.testing.assert_allclose(jacobian[:, i], (plus - minus) / 2e-6, atol=1e-7)
    assert inner(values, lon, lat).shape == (3,)


def test_piecewise_round_trip():
    model = PiecewiseNormSpatialModel(nodes(), norms=np.arange(1, 10), interp="log", frame="galactic")
    new = PiecewiseNormSpatialModel.from_dict(model.to_dict())
    assert new.to_dict() == model.to_dict()
    assert new.frame == "galactic"
    np.testing.assert_allclose(new(0.3 * u.deg, 0.2 * u.deg), model(0.3 * u.deg, 0.2 * u.deg))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"coords": {"lon": [0, 1, 2] * u.deg, "lat": [0, 1, 0] * u.deg}}, "four nodes or more, found 3"),
        ({"coords": {"lon": [0, 1, 2, 3] * u.deg, "lat": [0, 1, 2, 3] * u.deg}}, "on one line"),
        ({"coords": {"lon": [0, 1, 0, 1, 0] * u.deg, "lat": [0, 0, 1, 1, 0] * u.deg}}, "same place"),
        ({"coords": {"lon": [0, 1] * u.deg}}, "'lon' and 'lat', found"),
        ({"coords": {"lon": [0, 1] * u.m, "lat": [0, 1] * u.m}}, "expected an angle"),
        ({"coords": {**nodes(), "energy": 1 * u.TeV}}, "can't depend on .*energy"),
        ({"coords": nodes(), "norms": [1, 2]}, "expected 9 norms"),
        ({"coords": nodes(), "interp": "cubic"}, "'log' or 'lin'"),
    ],
)
def test_nodes_that_are_none(arguments, match):
    with pytest.raises(ModelError, match=match):
        PiecewiseNormSpatialModel(**arguments)


# Fermi's isotropic emission


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("isotropic")])
def test_isotropic_reference(gammapy_data, name):
    entry = ENTRIES[name]
    inputs = entry["inputs"]
    model = vm.create_fermi_isotropic_diffuse_model(inputs["file"])
    assert model.name == inputs["name"]
    check(entry, model.spectral_model(inputs["energy_GeV"] * u.GeV).to_value(inputs["unit"]))
    assert model.apply_irf == {"psf": False, "exposure": True, "edisp": False}
    assert model.parameters.free_parameters.names == ["norm"]
    assert Models.from_yaml(Models([model]).to_yaml()).to_yaml() == Models([model]).to_yaml()


def test_isotropic_for_datasets(tmp_path):
    (tmp_path / "iso.txt").write_text("100 1e-7 1e-9\n1000 1e-9 1e-11\n")
    model = vm.create_fermi_isotropic_diffuse_model(tmp_path / "iso.txt", datasets_names=["x"])
    assert (model.name, model.datasets_names) == ("isotropic_x", ["x"])
    flux = model(0 * u.deg, 0 * u.deg, 10**2.5 * u.MeV)
    np.testing.assert_allclose(flux.to_value("cm-2 s-1 MeV-1 sr-1"), 1e-8)
    kwargs = {"interp_kwargs": {"fill_value": 0}}
    model = vm.create_fermi_isotropic_diffuse_model(os.fspath(tmp_path / "iso.txt"), None, **kwargs)
    assert model.spectral_model(10 * u.MeV) == 0


@pytest.mark.parametrize("text", ["", "energy flux", "1 2", "2 1 1\n1 1 1", "1 -1\n2 1", "1\n2"])
def test_isotropic_files_that_are_none(tmp_path, text):
    (tmp_path / "iso.txt").write_text(text)
    with pytest.raises(FileFormatError, match=r"iso\.txt"):
        vm.create_fermi_isotropic_diffuse_model(tmp_path / "iso.txt")
    with pytest.raises(FileFormatError, match=r"not found: .*no\.txt"):
        vm.create_fermi_isotropic_diffuse_model(tmp_path / "no.txt")


@pytest.mark.parametrize(
    ("options", "zeros"),
    [
        ({}, False),
        ({}, True),
        ({"values_scale": "log"}, False),
        ({"values_scale": "lin"}, False),
        ({"fill_value": None}, True),
    ],
)
def test_many_energies_are_the_same_as_calls(options: dict, zeros: bool) -> None:
    axis = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=5, name="energy_true")
    geom = WcsGeom.create(skydir=(3, 1), npix=(12, 9), binsz=0.5, frame="galactic", axes=[axis])
    rng = np.random.default_rng(2)
    values = rng.uniform(0.5, 2, geom.data_shape) * axis.center.value[:, None, None] ** -2
    if zeros:
        values[1:3, 3:6, 4:8] = 0
    template = Map.from_geom(geom, data=values, unit="cm-2 s-1 TeV-1 sr-1")
    model = TemplateSpatialModel(template, normalize=False, interp_kwargs=options)
    lon, lat = np.meshgrid(np.linspace(-1, 7, 15) * u.deg, np.linspace(-2, 4, 11) * u.deg)
    energy = np.geomspace(0.03, 30, 17) * u.TeV
    for shift in (0, 0.7):
        model.lon_0.value += shift
        many = list(model.iter_energies(lon, lat, energy))
        for item, value in zip(energy, many, strict=True):
            expected = model(lon, lat, item)
            np.testing.assert_allclose(value.to_value(expected.unit), expected.value, rtol=1e-12)
