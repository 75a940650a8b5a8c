"""The streams of a client: what it sends us, and what we send it."""
