"""Builds the C extension; everything else about the package is in pyproject.toml.

It is optional: without a C compiler the package is installed without it.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "wscore._speedups",
            ["src/wscore/_speedups.c"],
            depends=[
                f"src/wscore/_{name}.h"
                for name in ("connection", "encoding", "masking", "method", "utf8")
            ],
            extra_compile_args=["-O3"],  # masks with SIMD; other compilers ignore it
            optional=True,
        )
    ]
)
