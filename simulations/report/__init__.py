"""One self-contained page about an experiment."""
