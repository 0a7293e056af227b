"""Catalogues of the Fermi-LAT collaboration."""

import astropy.units as u
import numpy as np
import pytest

from villard.catalog import CATALOG_REGISTRY, read_catalog
from villard.exceptions import DataError, FileFormatError


@pytest.fixture(scope="module")
def catalog_3fhl(gammapy_data):
    return read_catalog("3FHL")


def test_sources_are_found_by_name(catalog_3fhl):
    source = catalog_3fhl["3FHL J0534.5+2201"]
    assert source.row_index == catalog_3fhl.row_index("3fhlj0534.5+2201") == source.row_index
    assert source.data["Pivot_Energy"].unit == u.GeV
    assert source.is_pointlike
    assert catalog_3fhl["crab nebula"].name == source.name


def test_unknown_name_offers_the_nearest(catalog_3fhl):
    with pytest.raises(KeyError, match=r"Did you mean '3FHL J0534.5\+2201'"):
        catalog_3fhl["3FHL J0534.5+2202"]


def test_model_of_a_row(catalog_3fhl):
    model = catalog_3fhl["3FHL J0534.5+2201"].sky_model()
    row = catalog_3fhl["3FHL J0534.5+2201"].data
    reference = model.spectral_model.reference.quantity
    assert model.spectral_model(reference) == u.Quantity(row["Flux_Density"])
    assert model.position.separation(catalog_3fhl["3FHL J0534.5+2201"].position).deg < 1e-6


def test_missing_templates_are_named(catalog_3fhl, caplog):
    some = catalog_3fhl[np.flatnonzero(catalog_3fhl.table["Extended_Source_Name"] == "Cygnus Loop")]
    with pytest.raises(FileFormatError, match=r"3FHL J2051.0\+3040e: the template CygnusLoop.fits"):
        some.to_models()
    assert len(some.to_models(missing_templates="skip")) == 0
    assert "3FHL J2051.0+3040e" in caplog.text


def test_registry():
    assert CATALOG_REGISTRY.get_cls("3fhl").__name__ == "SourceCatalog3FHL"
    with pytest.raises(DataError, match="Did you mean '3fhl'"):
        CATALOG_REGISTRY.get_cls("3fhk")
