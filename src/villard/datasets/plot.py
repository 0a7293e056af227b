"""Plots of spectrum datasets."""


class SpectrumPlots:
    """Methods of `SpectrumDataset` that plot."""
