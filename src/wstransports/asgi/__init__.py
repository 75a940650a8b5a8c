"""ASGI: an application that serves a connection, without naming a loop."""
