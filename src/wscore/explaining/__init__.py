"""Explaining bytes: what each frame says, and which rule a wrong one breaks."""
