"""Temporal models: how the flux of a source depends on time, one module per family."""
