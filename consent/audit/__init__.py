"""Recompute what a site says about consent, and answer what a data-protection officer asks."""
