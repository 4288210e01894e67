"""A site: trains on its own faces and sends only what consent and its own caps allow."""
