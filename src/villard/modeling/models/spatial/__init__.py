"""Spatial models: what a source looks like on the sky, one module per family."""
