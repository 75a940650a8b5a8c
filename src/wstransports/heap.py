"""What the C library keeps of the memory of large messages."""

from functools import cache

# glibc gives blocks from here on back to the kernel when they are freed, in bytes.
LARGE = 2**17

_FREED = 2**23


@cache
def keep() -> None:
    """Have it keep 16 MiB of what is freed, from now on: called where the first message of LARGE
    bytes is.

    glibc does so once a block was freed that is larger than those messages, and keeps twice that.
    Without, it takes the memory of each anew, page by page: with 4 connections and 1 MiB a message
    that is 220 page faults a message instead of none, and 1.6 times the CPU time. Half of it is
    too little for text: 430 faults, and 1.4 times the CPU time.
    """
    bytes(_FREED)
