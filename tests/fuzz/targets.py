"""What is fuzzed: each target takes any bytes, and fails where the library and a reference differ.

A target never raises for what the bytes are, only for what the library makes of them.
"""

from collections.abc import Callable

from api_target import api
from extension_target import extensions
from frame_target import frames
from head_target import requests, responses
from pair_target import pairs

Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    "requests": requests,
    "responses": responses,
    "extensions": extensions,
    "frames": frames,
    "pairs": pairs,
    "api": api,
}
