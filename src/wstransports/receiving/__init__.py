"""What a peer sends: messages on their way to the callbacks."""
