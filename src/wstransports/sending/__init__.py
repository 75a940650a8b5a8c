"""Sending: messages, fragments and control frames on their way to the peer."""
