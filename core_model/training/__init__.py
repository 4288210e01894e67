"""Training loops, schedules and devices."""
