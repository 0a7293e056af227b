"""Printed datasets, as a user sees them."""

from pathlib import Path

from dataset_toys import onoff_dataset, power_law, spectrum_dataset
from map_dataset_toys import GEOM, dataset, isotropic

from villard.datasets import Datasets
from villard.modeling.models import FoVBackgroundModel

GOLDEN = Path(__file__).parent / "golden"


def test_datasets_print_as_before():
    dataset = onoff_dataset(models=power_law(name="crab", index=2.3), mask_safe=[False, True, True, True])
    assert str(dataset) == (GOLDEN / "onoff.txt").read_text()
    assert str(Datasets([dataset, spectrum_dataset(name="known")])) == (GOLDEN / "datasets.txt").read_text()


def test_cubes_print_as_before():
    cube = dataset(models=[isotropic(), FoVBackgroundModel(dataset_name="toy")])
    cube.mask_fit = GEOM.region_mask("galactic;circle(0, 0, 0.9)")
    assert str(cube) == (GOLDEN / "map.txt").read_text()
