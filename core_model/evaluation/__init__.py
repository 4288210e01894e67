"""How good a detector is, and how much identity its features hold."""
