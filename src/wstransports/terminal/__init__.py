"""The terminal program: `python -m wstransports connect`, `serve` and `explain`."""
