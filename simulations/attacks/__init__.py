"""Attacks on what a federation gives away, each with a defence switched off and on."""
