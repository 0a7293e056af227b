"""Public Galactic Centre data: two PSF classes, energy dispersion, exposure from the files of gtpsf."""

import numpy as np
import pytest

from villard.irf import PSFMap
from villard.roi import ROI

FOLDER = "$GAMMAPY_DATA/fermi-gc"


def configuration(**changes):
    components = [
        {
            "name": f"PSF{i + 2}",
            "counts": f"{FOLDER}/ccube_0{i}.fits",
            "psf": f"{FOLDER}/psf_0{i}.fits",
            "edisp": f"{FOLDER}/drm_0{i}.fits",
            "isodiff": f"{FOLDER}/iso_P8R3_CLEAN_V3_PSF{i + 2}_v1.txt",
        }
        for i in range(2)
    ]
    return {
        "components": components,
        "data": {"exposure": "psf"},
        "selection": {"glon": 0, "glat": 0} | changes.pop("selection", {}),
        "model": {
            "galdiff": f"{FOLDER}/gll_iem_v07_gc.fits.gz",
            "catalogs": ["$GAMMAPY_DATA/catalogs/fermi/gll_psch_v13.fit.gz"],
            "src_roiwidth": changes.get("binning", {}).get("roiwidth", 8.0),
        },
        **changes,
    }


@pytest.fixture(scope="module")
def roi(gammapy_data):
    """The inner 4 x 4 deg; the first bins of energy are margins."""
    return ROI.from_config(configuration(binning={"roiwidth": 4.0}, selection={"emin": 5011.87}))


def test_the_whole(gammapy_data):
    """Counts, exposure and sources of the files; both components are described by 15 norms together."""
    roi = ROI.from_config(configuration())
    assert [int(dataset.counts.data.sum()) for dataset in roi.datasets] == [26802, 26502]
    # Of each component that of its own file of gtpsf, between 3.98 and 5.01 GeV, the same everywhere.
    for i, dataset in enumerate(roi.datasets):
        psf = PSFMap.read(f"{FOLDER}/psf_0{i}.fits", format="gtpsf")
        known = psf.exposure_map.data.ravel()
        energy = psf.energy_axis_true.center.to_value("MeV")
        value = np.exp(np.interp(np.log(4466.8), np.log(energy), np.log(known)))
        np.testing.assert_allclose(dataset.exposure.data[0], value, rtol=1e-5)
        assert known[0] == pytest.approx([1.53347e11, 1.56347e11][i], rel=1e-5)
        # No margins: what is scattered out of the first and the last bin is lost.
        lost = dataset.edisp.pdf_matrix.sum(axis=1)
        assert lost[[0, -1]] == pytest.approx([[0.87362, 0.86748], [0.86585, 0.87395]][i], abs=1e-5)
        assert np.all(lost[2:-2] > 0.995)
    assert len(roi.get_sources(exclude_diffuse=True)) == 13
    roi.free_sources(pars="norm")
    result = roi.fit(update=False)
    assert (result["fit_quality"], len(result["values"])) == (3, 15)
    assert roi["galdiff"].model.parameters["norm"].value == pytest.approx(1, abs=0.02)
    for npred, counts in _spectra(roi):
        assert npred.sum() == pytest.approx(counts.sum(), rel=5e-3)


def _spectra(roi):
    for dataset in roi.datasets:
        yield dataset.npred().data.sum(axis=(1, 2)), dataset.counts.data.sum(axis=(1, 2))


def test_joint_fit_of_both_components(roi):
    roi.free_sources(pars="norm")
    roi.lock_parameter("3FHL J1747.2-2822", "amplitude")
    result = roi.fit()
    assert result["fit_quality"] == 3
    assert result["dloglike"] > 100
    assert roi["isodiff_PSF2"].model.parameters["norm"] is roi["isodiff_PSF3"].model.parameters["norm"]
    # Both are described by one set of norms: each within its Poisson errors and 3 % of the exposure.
    for npred, counts in _spectra(roi):
        total, expected = counts.sum(), npred.sum()
        assert abs(total - expected) < 3 * np.sqrt(expected) + 0.03 * expected
    centre = roi["3FHL J1745.6-2900"]
    assert centre["ts"] > 1000
    np.testing.assert_allclose(
        centre["npred"], sum(d.npred_signal(centre.name).data.sum() for d in roi.datasets), rtol=1e-9
    )


def test_energy_dispersion_is_the_matrix_of_the_file(roi):
    for dataset in roi.datasets:
        assert dataset.exposure.geom.axes["energy_true"].nbin == 28
        assert dataset.counts.geom.axes["energy"].nbin == 27
        assert dataset.edisp.pdf_matrix.shape == (28, 27)
        # A part of the margin's photons is reconstructed above it.
        assert 0.02 < dataset.edisp.pdf_matrix[0].sum() < 0.1
