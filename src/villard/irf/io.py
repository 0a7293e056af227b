"""Effective areas (ARF) and redistribution matrices (RMF) in files of the OGIP standard."""

from villard.irf.arf import arf_from_hdulist, arf_to_hdulist, read_arf, write_arf
from villard.irf.rmf import RMF, read_rmf, rmf_from_hdulist, rmf_to_hdulist

__all__ = [
    "RMF",
    "arf_from_hdulist",
    "arf_to_hdulist",
    "read_arf",
    "read_rmf",
    "rmf_from_hdulist",
    "rmf_to_hdulist",
    "write_arf",
]
