"""All that crosses the wire between server and site."""
