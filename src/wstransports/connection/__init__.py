"""One connection, from bytes to callbacks."""
