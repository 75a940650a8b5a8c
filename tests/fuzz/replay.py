"""Try the inputs in files on a target. Arguments: the target, and the files."""

import sys
from pathlib import Path

from targets import TARGETS

target, *files = sys.argv[1:]
for file in files:
    try:
        TARGETS[target](Path(file).read_bytes())
    except BaseException:
        print(f"{target} failed with {file}", file=sys.stderr)
        raise
