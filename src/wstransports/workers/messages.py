"""What a supervisor and a worker say to one another: a byte each, on a pair of sockets."""

# How the supervisor tells the program that it is a worker: its own process id, then descriptors:
# that of their connection, and those that listen.
VARIABLE = "WSTRANSPORTS_WORKER"

# From the worker.
SERVES = b"s"
ACCEPTS_NO_MORE = b"n"

# From the supervisor. Its end of the connection, too, lets the worker drain.
STOP_ACCEPTING = b"a"
DRAIN = b"d"
