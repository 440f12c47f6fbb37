"""More than one device: which replica takes a request."""
