"""Builds the C extensions; everything else about the package is in pyproject.toml.

They are optional: without a C compiler the package is installed without them.
"""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            f"{package}._speedups",
            [f"src/{package}/_speedups.c"],
            depends=[*glob("src/wscore/*.h"), *glob("src/wstransports/*.h")],
            extra_compile_args=["-O3"],  # masks with SIMD; other compilers ignore it
            optional=True,
        )
        for package in ("wscore", "wstransports")
    ]
)
