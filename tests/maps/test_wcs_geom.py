"""Pixels on the sky: solid angles, coordinates that go round, and derived geometries."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from villard.exceptions import DataError, UnitsError
from villard.maps import MapAxis, RegionGeom, WcsGeom

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "maps_gammapy.json").read_text())
ENERGY = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=4)


def sky(lon, lat, frame="galactic"):
    return SkyCoord(lon, lat, unit="deg", frame=frame)


class TestSolidAngle:
    @pytest.mark.parametrize("binsz", [1, (2, 1), 10])
    @pytest.mark.parametrize("frame", ["galactic", "icrs"])
    def test_whole_sky_plate_carree(self, binsz, frame):
        geom = WcsGeom.create(binsz=binsz, frame=frame, skydir=(33, 0))
        assert_allclose(geom.solid_angle().sum().to_value("sr"), 4 * np.pi, rtol=1e-12)

    def test_whole_sky_oblique(self):
        # The pixels of the plate carrée cover the sphere wherever its centre is.
        geom = WcsGeom.create(binsz=5, skydir=(83.6, 22))
        assert_allclose(geom.solid_angle().sum().to_value("sr"), 4 * np.pi, rtol=1e-12)

    def test_whole_sky_equal_area(self):
        # Pixels cut by the rim of the sky are missing: less of them the smaller they are.
        missing = []
        for binsz in (4, 2, 1):
            area = WcsGeom.create(binsz=binsz, proj="AIT", frame="galactic").solid_angle().to_value("deg2")
            assert_allclose(area[np.isfinite(area)], binsz**2, rtol=1e-12)
            missing.append(1 - np.nansum(area) / (4 * np.pi * u.sr).to_value("deg2"))
        assert missing[0] > missing[1] > missing[2] > 0
        assert missing[2] < 0.015

    @pytest.mark.parametrize("proj", ["AIT", "CEA", "MOL", "SFL", "ZEA"])
    def test_equal_area_by_projection(self, proj):
        # A patch away from the reference point, against its integral by the corners of tiny pixels.
        geom = WcsGeom.create(binsz=0.5, npix=(4, 4), refpix=(60, -70), proj=proj)
        fine = WcsGeom.create(binsz=0.01, npix=(200, 200), refpix=(2975.5, -3524.5), proj=proj)
        vectors = fine.pix_to_skydir(*fine._pixels(edges=True)).cartesian.xyz.value
        across, along = np.diff(vectors, axis=1)[:, :, :-1], np.diff(vectors, axis=2)[:, :-1]
        area = np.linalg.norm(np.cross(across, along, axis=0), axis=0).sum()
        assert_allclose(geom.solid_angle().sum().value, area, rtol=1e-4)

    def test_closed_form_plate_carree(self):
        geom = WcsGeom.create(binsz=(2, 0.5), npix=(3, 4), refpix=(2, -99.5))
        edges = np.radians((np.arange(5) + 100) * 0.5)
        expected = np.radians(2) * np.diff(np.sin(edges))
        assert_allclose(geom.solid_angle().value, np.repeat(expected[:, None], 3, axis=1), rtol=1e-12)

    def test_closed_form_tangential(self):
        # dΩ = dx dy cos^3 θ on the tangent plane.
        geom = WcsGeom.create(binsz=0.2, width=(9, 7), proj="TAN", skydir=(10, 70), frame="galactic")
        x, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in geom.npix))
        r = np.radians(0.2 * np.hypot(x, y))
        expected = np.radians(0.2) ** 2 * (1 + r**2) ** -1.5
        assert_allclose(geom.solid_angle().value, expected, rtol=1e-5)

    def test_beyond_the_pole(self):
        area = WcsGeom.create(npix=(4, 6), binsz=45).solid_angle()
        assert np.isnan(area[0]).all()
        assert np.isnan(area[-1]).all()
        assert_allclose(np.nansum(area.value), 2 * np.pi, rtol=1e-12)

    def test_bin_volume(self):
        geom = WcsGeom.create(binsz=1, width=3, axes=[ENERGY])
        volume = geom.bin_volume()
        assert volume.shape == geom.data_shape
        assert_allclose(volume.sum(), geom.solid_angle().sum() * 9.9 * u.TeV)


class TestCoordinates:
    @pytest.mark.parametrize("entry", REFERENCE["geometry"], ids=lambda e: str(e["create"]))
    def test_reference(self, entry):
        geom = WcsGeom.create(**entry["create"])
        assert list(geom.npix) == entry["npix"]
        there = sky(entry["lon"], entry["lat"], geom.frame)
        assert_allclose(geom.pix_to_skydir(entry["x"], entry["y"]).separation(there).deg, 0, atol=1e-9)
        assert_allclose(geom.skydir_to_pix(there), [entry["x"], entry["y"]], atol=1e-8)
        # The reference takes pixels as parallelograms.
        rtol = 0.01 if geom.is_allsky else 4e-4
        assert_allclose(geom.solid_angle().value[entry["y"], entry["x"]], entry["solid_angle"], rtol=rtol)
        cutout = entry["cutout"]
        position = sky(cutout["lon"], cutout["lat"], geom.frame)
        part = geom.cutout(position, cutout["width"])
        assert list(part.npix) == cutout["npix"]
        assert part.center_skydir.separation(sky(*cutout["center"], geom.frame)).deg < 1e-9
        separation = geom.separation(position)
        assert separation.unit == "deg"
        assert_allclose(separation.value[entry["y"], entry["x"]], entry["separation"], rtol=1e-9)

    @pytest.mark.parametrize("lon", [0, 0.2, 359.9, 180, 179.95, 90])
    @pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT"])
    def test_round_trip_wherever_longitude_jumps(self, lon, proj):
        geom = WcsGeom.create(skydir=(lon, 5), binsz=0.5, width=(6, 4), proj=proj, frame="galactic")
        x, y = geom.skydir_to_pix(geom.skydirs())
        expected = np.meshgrid(np.arange(12), np.arange(8))
        assert_allclose([x, y], expected, atol=1e-8)
        assert geom.contains(geom.skydirs()).all()

    @given(st.floats(0, 360), st.floats(-720, 720), st.floats(-89, 89))
    def test_whole_sky_contains_everything(self, center, lon, lat):
        geom = WcsGeom.create(binsz=10, skydir=(center, 0), frame="galactic")
        assert geom.is_allsky
        assert geom.is_cyclic
        assert geom.contains(sky(lon, lat))
        x, y = geom.skydir_to_pix(sky(lon, lat))
        assert geom.pix_to_skydir(x, y).separation(sky(lon, lat)).deg < 1e-6

    def test_map_that_begins_at_zero(self):
        # Reference at longitude 0 in the last pixel, so that the map shows 0 to 360 deg.
        geom = WcsGeom.create(npix=(360, 2), binsz=1, refpix=(360.5, 1.5), frame="galactic")
        x, _ = geom.skydir_to_pix(sky([0.5, 180.5, 359.5, -0.5], [0.5] * 4))
        assert_allclose(x, [359, 179, 0, 0], atol=1e-9)
        lon = geom.skydirs().l.deg[0]
        assert_allclose(lon, 359.5 - np.arange(360), atol=1e-9)

    def test_contains(self):
        geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.5, width=(4, 2), axes=[ENERGY])
        assert_array_equal(
            geom.contains(sky([1.99, 2.01, 358.01, 357.99, 0], [0, 0, 0, 0, 1.01])),
            [True, False, True, False, False],
        )
        assert not geom.contains(sky(180, 0))
        coords = {"lon": [0, 0, 3] * u.deg, "lat": [0, 0, 0] * u.deg, "energy": [1, 20, 1] * u.TeV}
        assert_array_equal(geom.contains(coords), [True, False, False])

    def test_other_side_of_a_tangent_plane(self):
        geom = WcsGeom.create(binsz=1, width=10, proj="TAN", skydir=(0, 0))
        assert not geom.contains(sky(180, 0, "icrs"))

    def test_center_width_footprint(self):
        geom = WcsGeom.create(skydir=(120, 30), binsz=(0.2, 0.1), width=(4, 3), proj="TAN")
        assert_allclose(geom.center_skydir.ra.deg, 120)
        assert_allclose(geom.pixel_scales.value, [0.2, 0.1])
        assert_allclose(geom.width.to_value("deg"), [4, 3])
        corners = geom.footprint
        assert_allclose(corners[0].separation(geom.center_skydir), corners[2].separation(geom.center_skydir))
        assert_allclose(corners[0].separation(corners[3]).deg, 4, rtol=1e-3)

    def test_get_coord(self):
        geom = WcsGeom.create(binsz=1, width=(3, 2), axes=[ENERGY])
        full, sparse = geom.get_coord(), geom.get_coord(sparse=True)
        assert full["energy"].shape == (4, 2, 3)
        assert sparse["energy"].shape == (4, 1, 1)
        assert sparse.skycoord.shape == (1, 2, 3)
        assert_allclose(full.lon.value[0, 0], [1, 0, 359], atol=1e-9)
        assert_allclose(full.lat.value[0, :, 0], [-0.5, 0.5])


class TestCreate:
    def test_units(self):
        geom = WcsGeom.create(binsz="6 arcmin", width=(2 * u.deg, 1), axes=[ENERGY])
        assert geom.npix == (20, 10)
        assert geom.data_shape == (4, 10, 20)
        assert WcsGeom.create(npix=3, binsz=0.1).npix == (3, 3)
        assert WcsGeom.create(binsz=0.1 * u.deg, width=[[1], [0.5]] * u.deg).npix == (10, 5)

    def test_mistakes(self):
        with pytest.raises(DataError, match="frame"):
            WcsGeom.create(frame="altaz")
        with pytest.raises(DataError, match="XYZ"):
            WcsGeom.create(proj="XYZ", width=3)
        with pytest.raises(DataError, match="binsz"):
            WcsGeom.create(binsz=-1, width=3)
        with pytest.raises(UnitsError, match="binsz"):
            WcsGeom.create(binsz="1 TeV")
        with pytest.raises(DataError, match="pixel"):
            WcsGeom.create(npix=0)
        with pytest.raises(DataError, match="celestial"):
            WcsGeom(WCS(naxis=3), (2, 2))

    def test_text(self):
        geom = WcsGeom.create(skydir=(83.63, 22.01), binsz=0.02, width=(4, 3), axes=[ENERGY])
        assert repr(geom) == "WcsGeom(icrs, CAR, 200 x 150, energy: 4)"
        assert "center    : 83.6300, 22.0100 deg" in str(geom)


class TestDerived:
    geom = WcsGeom.create(skydir=(1, 2), frame="galactic", binsz=0.1, width=(4, 2), proj="TAN", axes=[ENERGY])

    def test_equality(self):
        same = WcsGeom.create(
            skydir=sky(1, 2).icrs, frame="galactic", binsz=0.1, width=(4, 2), proj="TAN", axes=[ENERGY]
        )
        assert self.geom == same
        assert hash(self.geom) == hash(same)
        other = WcsGeom.create(skydir=(1.05, 2), frame="galactic", binsz=0.1, width=(4, 2), proj="TAN")
        assert self.geom != other.to_cube([ENERGY])
        assert self.geom != self.geom.to_image()
        assert self.geom != RegionGeom(None, axes=[ENERGY])

    @pytest.mark.parametrize("factor", [2, 5])
    def test_scaled(self, factor):
        for geom in (self.geom, WcsGeom.create(binsz=1, width=(20, 10), skydir=(359, 50), axes=[ENERGY])):
            fine, coarse = geom.upsample(factor), geom.downsample(factor)
            assert fine.downsample(factor) == geom
            for other in (fine, coarse):
                assert other.footprint.separation(geom.footprint).deg.max() < 1e-9
            blocks = (geom.npix[1], factor, geom.npix[0], factor)
            area = fine.solid_angle().value.reshape(blocks).sum(axis=(1, 3))
            assert_allclose(area, geom.solid_angle().value, rtol=1e-6)
        assert geom.upsample(factor, axis_name="energy").axes["energy"].nbin == 4 * factor
        with pytest.raises(DataError, match="joined"):
            geom.downsample(3)

    def test_scaled_with_matrix(self):
        header = self.geom.wcs.to_header()
        wcs = WCS(header)
        wcs.wcs.cd = [[-0.08, 0.06], [0.06, 0.08]]
        geom = WcsGeom(wcs, (20, 10))
        assert_allclose(geom.pixel_scales.value, [0.1, 0.1])
        assert geom.upsample(2).footprint.separation(geom.footprint).deg.max() < 1e-9

    def test_pad_and_crop(self):
        padded = self.geom.pad((3, 1))
        assert padded.npix == (46, 22)
        assert padded.crop((3, 1)) == self.geom
        assert padded.offset_of(self.geom) == (3, 1)
        assert self.geom.offset_of(padded) == (-3, -1)
        assert self.geom.pad(1, axis_name="energy").axes["energy"].nbin == 6

    def test_other_pixels(self):
        with pytest.raises(DataError, match="pixels"):
            self.geom.offset_of(self.geom.upsample(2))

    def test_cutout(self):
        # Across longitude 0, with the part that is beyond the border cut off or kept.
        whole = WcsGeom.create(binsz=1, frame="galactic")
        part = whole.cutout(sky(0.5, 0.5), (4, 2) * u.deg)
        assert part.npix == (4, 2)
        assert_allclose(part.center_skydir.l.wrap_at("180d").deg, 1, atol=1)
        edge = self.geom.cutout(sky(2.9, 2), 1 * u.deg)
        assert edge.npix == (6, 10)
        assert self.geom.cutout(sky(2.9, 2), 1 * u.deg, mode="partial").npix == (10, 10)
        assert self.geom.cutout(sky(1, 2), 1 * u.deg, odd_npix=True).npix == (11, 11)
        assert self.geom.cutout(sky(1, 2), 0.01 * u.deg, min_npix=3).npix == (3, 3)
        with pytest.raises(DataError, match="outside"):
            self.geom.cutout(sky(20, 2), 1)
        with pytest.raises(DataError, match="projection TAN"):
            self.geom.cutout(sky(181, -2), 1)
        with pytest.raises(DataError, match="mode"):
            self.geom.cutout(sky(1, 2), 1, mode="strict")

    def test_axes(self):
        assert self.geom.to_image().is_image
        assert self.geom.to_image().to_cube([ENERGY]) == self.geom
        assert self.geom.squash("energy").data_shape == (1, 20, 40)
        assert self.geom.as_energy_true().axes.names == ["energy_true"]
        assert self.geom.to_binsz(0.2).npix == (20, 10)


class TestMasks:
    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.05, width=(6, 4), axes=[ENERGY])

    def test_energy(self):
        mask = self.geom.energy_mask(energy_min=1 * u.TeV)
        assert mask.data.shape == self.geom.data_shape
        assert_array_equal(mask.data[:, 0, 0], [False, False, True, True])

    @pytest.mark.parametrize(
        ("text", "area"),
        [
            ("galactic;circle(0.5, 0.2, 1.2)", np.pi * 1.2**2),
            ("galactic;annulus(359.8, 0, 0.5, 1)", np.pi * 0.75),
            ("galactic;box(0, 0, 3, 1, 30)", 3),
            ("galactic;ellipse(0, 0, 1.5, 0.5, 120)", np.pi * 0.75),
            ("icrs;circle(266.405, -28.936, 1)", np.pi),
        ],
    )
    def test_area(self, text, area):
        mask = self.geom.region_mask(text)
        assert mask.data.shape == self.geom.data_shape
        found = np.sum(mask.data[0] * self.geom.solid_angle().to_value("deg2"))
        assert_allclose(found, area, rtol=0.01)
        assert_array_equal(self.geom.region_mask([text], inside=False).data, ~mask.data)

    def test_several(self):
        texts = ["galactic;circle(1, 0, 0.3)", "galactic;circle(-1, 0, 0.3)"]
        both = self.geom.region_mask(texts)
        assert_array_equal(both.data, self.geom.region_mask(";".join(texts)).data)
        assert both.data.sum() == sum(self.geom.region_mask(text).data.sum() for text in texts)

    def test_file(self, tmp_path):
        path = tmp_path / "exclusion.reg"
        path.write_text("# Region file format: DS9\nglobal color=green\ngalactic\ncircle(1,0,0.3)\n")
        expected = self.geom.region_mask("galactic;circle(1, 0, 0.3)")
        assert_array_equal(self.geom.region_mask(str(path)).data, expected.data)
        with pytest.raises(DataError, match="not found"):
            self.geom.region_mask("missing.reg")

    def test_other_shapes(self):
        class Polygon:
            """A shape that knows by itself what it contains, as those of the package regions do."""

            def contains(self, skycoord, wcs):
                return skycoord.b.deg > 0

        assert self.geom.region_mask([Polygon()]).data.mean() == 0.5
        with pytest.raises(DataError, match="Region"):
            self.geom.region_mask([1])

    def test_boundary(self):
        mask = self.geom.boundary_mask(0.5 * u.deg)
        assert mask.data[0].sum() == 100 * 60
        assert self.geom.boundary_mask((0.5, 0.1)).data[0].sum() == 100 * 76


class TestRegionsPackage:
    """Objects and files of the package regions."""

    geom = TestMasks.geom

    def test_polygon(self, tmp_path):
        regions = pytest.importorskip("regions", reason="needs the package regions")
        polygon = regions.PolygonSkyRegion(sky([-1.013, 1, 1.004], [-1, -1.017, 1]))
        mask = self.geom.region_mask([polygon, "galactic;circle(-2, 1, 0.3)"])
        found = np.sum(mask.data[0] * self.geom.solid_angle().to_value("deg2"))
        assert_allclose(found, 2 + np.pi * 0.09, rtol=0.03)
        for suffix in (".reg", ".crtf"):
            path = tmp_path / f"mask{suffix}"
            regions.Regions([polygon]).write(str(path))
            read = self.geom.region_mask(str(path))
            assert_array_equal(read.data, self.geom.region_mask(polygon).data)

    def test_circle(self):
        regions = pytest.importorskip("regions", reason="needs the package regions")
        circle = regions.CircleSkyRegion(sky(0.5, 0), 0.7 * u.deg)
        expected = self.geom.region_mask("galactic;circle(0.5, 0, 0.7)")
        assert_array_equal(self.geom.region_mask(circle).data, expected.data)

    def test_damaged_file(self, tmp_path):
        pytest.importorskip("regions", reason="needs the package regions")
        path = tmp_path / "mask.crtf"
        path.write_text("nonsense")
        with pytest.raises(DataError, match=r"mask\.crtf"):
            self.geom.region_mask(str(path))
