"""The isotropic cube of gtmodel, from the isotropic file and the exposure."""

import json
from pathlib import Path

import numpy as np
import pytest

from villard.datasets import SourceMaps
from villard.maps import Map
from villard.modeling.models.gtlike import read_gtlike_xml
from villard.roi.inputs import make_dataset

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "fermi_catalog.json").read_text())
XML = """<source_library><source name="iso" type="DiffuseSource">
<spectrum type="FileFunction" file="iso_P8R2_SOURCE_V6_v06.txt" apply_edisp="false">
<parameter name="Normalization" value="1" scale="1" min="0" max="10" free="1"/></spectrum>
<spatialModel type="ConstantValue"><parameter name="Value" value="1" scale="1" min="0" max="10" free="0"/>
</spatialModel></source></source_library>"""


def test_isotropic_emission(gammapy_data, tmp_path):
    """With gtlike's quadrature its numbers; the integrals of the spectrum itself are 0.8 % lower."""
    entry, data = REFERENCE["gtmodel.iso"], Path(gammapy_data)
    counts = Map.read(data / "fermi-3fhl-gc" / "fermi-3fhl-gc-counts-cube.fits.gz")
    exposure = Map.read(data / "fermi-3fhl-gc" / "fermi-3fhl-gc-exposure-cube.fits.gz")
    expected = Map.read(data / "fermi-extra" / "fermi-3fhl-gc-background-iso.fits.gz").data
    assert expected.sum() == pytest.approx(entry["expected"]["iso_sum"], rel=1e-6)
    galactic = Map.read(data / "fermi-extra" / "fermi-3fhl-gc-background-gal.fits.gz").data
    assert galactic.sum() == pytest.approx(entry["expected"]["gal_sum"], rel=1e-6)
    both = Map.read(data / "fermi-3fhl-gc" / "fermi-3fhl-gc-background-cube.fits.gz").data
    assert both.sum() == pytest.approx(entry["expected"]["all_sum"], rel=1e-6)
    np.testing.assert_allclose(galactic + expected, both, rtol=1e-6, atol=1e-7)
    (tmp_path / "model.xml").write_text(XML)
    models = read_gtlike_xml(tmp_path / "model.xml", folder=data / "fermi_3fhl")

    image = counts.geom.to_image()
    cube = exposure.interp_to_geom(image.to_cube([exposure.geom.axes["energy_true"]]))
    source_map = cube.quantity.to_value("cm2 s") * image.solid_angle().to_value("sr")
    maps = SourceMaps(counts, {"iso": source_map}, name="gc")
    maps.dataset.models = maps.sky_models(models)
    found = maps.dataset.npred().data
    assert found.sum() == pytest.approx(entry["expected"]["iso_sum"], rel=entry["rtol"])
    # Another evaluation of the same quadrature has 1008.881: gtmodel's convolution loses 0.1 % at the edges.
    assert found.sum() == pytest.approx(1008.881, abs=1e-3)
    ratio = found.sum(axis=(1, 2)) / expected.sum(axis=(1, 2))
    np.testing.assert_allclose(ratio[1:-1], 1, rtol=8e-5)
    np.testing.assert_allclose(ratio, 1, rtol=3.1e-3)
    inside = (slice(None), slice(60, -60), slice(60, -60))
    np.testing.assert_allclose(found[inside].sum(axis=(1, 2)), expected[inside].sum(axis=(1, 2)), rtol=1e-4)

    exact = make_dataset(counts, exposure, name="gc")
    exact.models = models
    assert exact.npred().data.sum() / found.sum() == pytest.approx(1 - 0.0086, abs=5e-4)
