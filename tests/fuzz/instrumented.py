"""One target under atheris, which sees how the library's code is covered.

Arguments: the target, a program that starts this file for the target, and libFuzzer's options.
"""

import sys

import atheris

with atheris.instrument_imports(include=["wscore", "wstransports"]):
    import wscore  # noqa: F401
    import wstransports  # noqa: F401

from targets import TARGETS  # after the library, which is instrumented

_, target, *arguments = sys.argv
atheris.Setup(arguments, TARGETS[target])
atheris.Fuzz()
