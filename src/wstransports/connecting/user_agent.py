"""The User-Agent header of requests (RFC 9110 section 10.1.5)."""

import sys

# A constant, because reading the distribution's metadata takes 20 ms.
VERSION = "0.1.0"

USER_AGENT = f"Python/{sys.version_info[0]}.{sys.version_info[1]} wstransports/{VERSION}"
