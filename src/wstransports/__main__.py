"""`python -m wstransports`: the terminal program."""

import sys

from .terminal.program import main

sys.exit(main())
