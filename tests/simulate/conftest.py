"""Datasets of a source like the Crab Nebula, as seen by a small telescope array with plain responses."""

import astropy.units as u
import numpy as np
import pytest

from villard.datasets import SpectrumDataset, SpectrumDatasetOnOff
from villard.irf import EDispKernel
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling.models import LogParabolaSpectralModel, PowerLawSpectralModel, SkyModel


def log_parabola(name="crab"):
    spectrum = LogParabolaSpectralModel(
        amplitude="3.8e-11 TeV-1 cm-2 s-1", reference="1 TeV", alpha=2.3, beta=0.15
    )
    return SkyModel(spectrum, name=name)


def power_law(name="crab", **kwargs):
    values = {"amplitude": "3.8e-11 TeV-1 cm-2 s-1", "reference": "1 TeV", "index": 2.4, **kwargs}
    return SkyModel(PowerLawSpectralModel(**values), name=name)


def parts(hours, nbin):
    axis = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=nbin)
    axis_true = MapAxis.from_energy_bounds("0.3 TeV", "80 TeV", nbin=2 * nbin, name="energy_true")
    geom, geom_true = RegionGeom(None, axes=[axis]), RegionGeom(None, axes=[axis_true])
    energy = axis_true.center.to_value("TeV")
    exposure = RegionNDMap(geom_true, data=1e9 * energy**0.3 * hours * 3600, unit="cm2 s")
    edisp = EDispKernel.from_gauss(axis_true, axis, sigma=0.15, bias=0)
    background = 20.0 * hours * axis.center.to_value("TeV") ** -1.5
    return geom, exposure, edisp, RegionNDMap(geom, data=background)


def onoff(hours=5.0, nbin=12, models=None, name="toy", off_exposure=10.0):
    geom, exposure, edisp, background = parts(hours, nbin)
    dataset = SpectrumDatasetOnOff(
        counts=RegionNDMap(geom),
        counts_off=RegionNDMap(geom, data=off_exposure * background.data),
        acceptance=1,
        acceptance_off=off_exposure,
        exposure=exposure,
        edisp=edisp,
        name=name,
        models=log_parabola() if models is None else models,
    )
    dataset.counts = dataset.npred_signal() + background
    return dataset


def known_background(hours=5.0, nbin=12, models=None, name="toy", stat_type="cash"):
    geom, exposure, edisp, background = parts(hours, nbin)
    return SpectrumDataset(
        counts=RegionNDMap(geom),
        background=background,
        exposure=exposure,
        edisp=edisp,
        name=name,
        models=log_parabola() if models is None else models,
        stat_type=stat_type,
    )


def flux_points(nbin=15, error=0.1, models=None, name="points", stat_type="chi2", asymmetry=1.0):
    from astropy.table import Table

    from villard.datasets import FluxPointsDataset
    from villard.estimators import FluxPoints

    model = power_law() if models is None else models
    energy = np.geomspace(0.5, 50, nbin) * u.TeV
    dnde = model.spectral_model(energy)
    table = Table({"e_ref": energy, "dnde": dnde, "dnde_err": error * dnde})
    table["dnde_errn"], table["dnde_errp"] = error * dnde, asymmetry * error * dnde
    points = FluxPoints.from_table(table, sed_type="dnde")
    return FluxPointsDataset(model, points, name=name, stat_type=stat_type)


class Make:
    """The functions of this file, for tests."""

    log_parabola = staticmethod(log_parabola)
    power_law = staticmethod(power_law)
    onoff = staticmethod(onoff)
    known_background = staticmethod(known_background)
    flux_points = staticmethod(flux_points)


@pytest.fixture(scope="session")
def make():
    return Make
