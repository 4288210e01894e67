"""Adding up updates so that whoever adds sees the sum alone: the parts that need no messages."""
