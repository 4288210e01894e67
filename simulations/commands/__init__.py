"""Commands of omote-sim, a file for each kind."""
