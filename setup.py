"""Builds the C extension; everything else about the package is in pyproject.toml.

It is optional: without a C compiler the package is installed without it.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "wscore._speedups",
            ["src/wscore/_speedups.c"],
            depends=["src/wscore/_encoding.h", "src/wscore/_masking.h", "src/wscore/_utf8.h"],
            extra_compile_args=["-O3"],  # masks with SIMD; other compilers ignore it
            optional=True,
        )
    ]
)
