"""What goes to a peer: messages, fragments, control frames."""
