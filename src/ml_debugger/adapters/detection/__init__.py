"""Adapters of 2D object detectors, by framework."""
