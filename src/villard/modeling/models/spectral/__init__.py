"""Spectral models, a module per family."""
