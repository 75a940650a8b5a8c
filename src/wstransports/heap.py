"""What the C library keeps of the memory of large messages."""

# glibc gives blocks from here on back to the kernel when they are freed, in bytes.
LARGE = 2**17

# Of the blocks that are freed to have more kept: the smallest, and the largest that glibc heeds.
_LEAST, _MOST = 2**23, 2**25 - 2**16

_freed = 0  # the largest so far


def keep(size: int) -> None:
    """Have it keep what messages of `size` bytes take and free, from now on: called where one of
    LARGE bytes or more is.

    glibc does so once a block was freed that is larger than those messages, and keeps twice that:
    here 16 MiB, 32 from messages of 4 MiB on, 64 from 8 MiB on. Without, it takes the memory of
    each anew, page by page: with 4 connections and 1 MiB a message that is 220 page faults a
    message instead of none, and 1.6 times the CPU time; with one of 16 MiB 7,700, and 3 times. Half
    of the 16 MiB is too little for text: 430 faults, and 1.4 times the CPU time.
    """
    global _freed
    block = max(_LEAST, min(2 ** (size.bit_length() + 1), _MOST))
    # A smaller one behind it would come from what is kept, and be written to.
    if block > _freed:
        _freed = block
        bytes(block)
