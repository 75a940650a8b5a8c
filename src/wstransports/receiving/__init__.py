"""Receiving: messages on their way to the callbacks."""
