"""Parametric faces with known Action Units and identities."""
