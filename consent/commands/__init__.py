"""Commands of omote-consent, a group a file."""
