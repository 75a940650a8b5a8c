"""wstest, the suite's program, on 127.0.0.1 alone: this file runs on Python 2.7.

As a server (`--mode=fuzzingserver`) it listens on every interface otherwise, whatever its url
says. With port 0 in that url it takes a free one, and prints which; all else goes to stderr.
"""

import sys

# Has to come before whatever imports the reactor.
import autobahntestsuite.choosereactor  # type: ignore[import-not-found]  # noqa: F401
from autobahntestsuite import fuzzing, wstest

listen_everywhere = fuzzing.listenWS


def listen(factory, context):
    # type: (object, object) -> None
    port = listen_everywhere(factory, context, interface="127.0.0.1")
    stdout.write(str(port.getHost().port) + "\n")
    stdout.flush()


stdout, sys.stdout = sys.stdout, sys.stderr
fuzzing.listenWS = listen
wstest.run()
