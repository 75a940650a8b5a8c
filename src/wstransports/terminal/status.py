"""The exit statuses of the program."""

OK = 0
FAILED = 1
USAGE = 2
CLOSED = 3
INTERRUPTED = 130  # as shells say it: 128 and the number of the signal
NO_READER = 141

STATUSES = {
    OK: "the connection closed cleanly (1000, 1001 or no code); the bytes have no fault",
    FAILED: "no connection, or the server refused; the bytes have a fault",
    USAGE: "the arguments or the input are not valid",
    CLOSED: "the connection was lost, or closed with another code",
    INTERRUPTED: "interrupted by Ctrl-C",
    NO_READER: "the reader of the output has closed it",
}


class UsageError(Exception):
    """Arguments or input that are not valid; the message says what to change."""
