"""Astrophysics: what sources are made of."""
