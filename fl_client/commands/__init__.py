"""Commands of omote-site, one file for each family. Thin."""
