"""The operator's dashboard: a page on loopback that shows a run as it goes on."""
