"""The commands of omote-model, each thin: parse, call, print."""
