"""A client that behaves, next to an attack: echoes, one at a time, and how long they take.

Arguments: the server's port, and for how many seconds. It prints milliseconds, in JSON.
"""

import json
import os
import socket
import sys
import time

from kit.handshake import REQUEST

port, seconds = int(sys.argv[1]), float(sys.argv[2])
if os.geteuid() == 0:
    os.nice(-5)  # what is measured is the server's delay, not ours
frame = b"\x82\x84\0\0\0\0echo"
took = []
with socket.create_connection(("127.0.0.1", port), 30) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(REQUEST.replace(b"/chat", b"/echo"))
    while not connection.recv(65536).endswith(b"\r\n\r\n"):
        continue
    end = time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        connection.sendall(frame)
        assert connection.recv(6) == b"\x82\x04echo"
        took.append(1000 * (time.monotonic() - start))
        time.sleep(0.01)
took.sort()
print(json.dumps({"p99": took[len(took) * 99 // 100], "longest": took[-1]}), flush=True)
