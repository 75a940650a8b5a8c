"""The compiled leaves; everything else about the package stands in pyproject.toml.

Optional: where there is no C compiler, the package is installed without them and says so.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "wscore._speedups",
            ["src/wscore/_speedups.c"],
            depends=["src/wscore/_encoding.h", "src/wscore/_masking.h", "src/wscore/_utf8.h"],
            extra_compile_args=["-O3"],  # masks by SIMD; other compilers take no notice
            optional=True,
        )
    ]
)
