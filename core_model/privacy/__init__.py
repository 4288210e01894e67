"""Differential privacy with the person as the unit."""
