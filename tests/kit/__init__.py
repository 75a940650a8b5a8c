"""What the tests share: event loops, peers, raw servers, frames, certificates."""
