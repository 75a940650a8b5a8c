"""Picks the shortcuts in C of methods, where the C extension was built."""

from wscore.speedups import extension, shortcuts

accelerated_method = shortcuts(extension("wstransports._speedups"))
