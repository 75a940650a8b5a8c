"""As a plugin of pytest (`-p few_examples`): tests of random input try a quarter of their examples.

`make test` runs so, and `make test-all OLDER=1`.
"""

from hypothesis import settings

settings.register_profile("few examples", max_examples=settings().max_examples // 4)
settings.load_profile("few examples")
