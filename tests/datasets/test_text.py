"""Printed datasets, as a user sees them."""

from pathlib import Path

from dataset_toys import onoff_dataset, power_law, spectrum_dataset

from villard.datasets import Datasets

GOLDEN = Path(__file__).parent / "golden"


def test_datasets_print_as_before():
    dataset = onoff_dataset(models=power_law(name="crab", index=2.3), mask_safe=[False, True, True, True])
    assert str(dataset) == (GOLDEN / "onoff.txt").read_text()
    assert str(Datasets([dataset, spectrum_dataset(name="known")])) == (GOLDEN / "datasets.txt").read_text()
