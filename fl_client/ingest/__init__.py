"""From videos and data sets to face crops that a site can train on."""
