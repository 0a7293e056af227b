"""Simulated counts in the place of the data."""

import numpy as np
import pytest
from sky_toys import make_roi, source

from villard.exceptions import DataError, ModelError


@pytest.fixture
def roi():
    return make_roi([source("centre", 0, 0), source("other", 0.7, -0.4)])


def test_expected_counts_are_those_predicted(roi):
    observed = roi.datasets[0].counts.data.copy()
    roi.simulate_roi(randomize=False)
    np.testing.assert_allclose(roi.datasets[0].counts.data, roi.datasets[0].npred().data, rtol=1e-12)
    assert roi.is_simulated
    roi.simulate_roi(restore=True)
    np.testing.assert_array_equal(roi.datasets[0].counts.data, observed)
    with pytest.raises(DataError, match="nothing was simulated"):
        roi.restore_counts()


def test_random_counts_are_poisson_distributed(roi):
    expected = roi.datasets[0].npred().data
    roi.simulate_roi(seed=3)
    counts = roi.datasets[0].counts.data
    assert np.all(counts == np.round(counts))
    chi2 = np.sum((counts - expected) ** 2 / expected)
    assert chi2 == pytest.approx(expected.size, abs=5 * np.sqrt(2 * expected.size + np.sum(1 / expected)))
    roi.simulate_roi(seed=3)
    np.testing.assert_array_equal(roi.datasets[0].counts.data, counts)
    roi.simulate_roi()
    assert not np.array_equal(roi.datasets[0].counts.data, counts)


def test_the_fit_of_expected_counts_finds_the_models_again(roi):
    roi.free_sources_by_name(["centre", "other"], pars="norm")
    before = [p.value for p in roi.parameters]
    roi.simulate_roi(randomize=False)
    roi.models["centre"].parameters["amplitude"].value *= 1.5
    assert roi.fit(update=False)["fit_quality"] == 3
    np.testing.assert_allclose([p.value for p in roi.parameters], before, rtol=1e-5)


def test_one_source_alone(roi):
    roi.simulate_roi("centre", randomize=False)
    assert roi.datasets[0].counts.data.sum() == pytest.approx(roi["centre"]["npred"], rel=1e-9)
    with pytest.raises(ModelError, match="centre"):
        roi.simulate_roi("center")


def test_a_source_added_to_the_counts(roi):
    dataset = roi.datasets[0]
    before = dataset.counts.data.copy()
    roi.simulate_source(
        {"glon": 0.3, "glat": 0.2, "Index": 2.0, "Prefactor": 8e-12, "Scale": 1000.0}, randomize=False
    )
    added = dataset.counts.data - before
    # As bright as the source at the centre, which has 2e-14 at 20 GeV.
    assert added.sum() == pytest.approx(roi["centre"]["npred"], rel=0.02)
    peak = np.unravel_index(np.argmax(added.sum(axis=0)), added.shape[1:])
    place = dataset.geom.to_image().get_coord().skycoord[peak].galactic
    assert place.l.wrap_at("180d").deg == pytest.approx(0.3, abs=0.06)
    roi.simulate_source("centre", randomize=False)
    roi.simulate_source(seed=1)
    roi.simulate_roi(restore=True)
    np.testing.assert_array_equal(dataset.counts.data, before)
