"""The rules of the contract, as the checks name them."""

from enum import StrEnum


class Rule(StrEnum):
    """What an adapter has to do; `wstransports.runtime` has the full text."""

    CONNECTED_FIRST = "connected() is called once, and before anything else"
    BYTES_ARRIVE = "every written byte arrives, once and in order"
    CLOSE_SENDS = "close() sends what is written before it ends our half"
    EOF_ONCE = "the end of the peer's half is one eof_received(), and no data follows it"
    HALF_OPEN = "our half still works after the end of the peer's"
    CLOSE_READS_ON = "what still arrives after close() goes on to the sink"
    CLOSE_LOSES = "connection_lost() follows when both halves have ended"
    LOST_ONCE = "connection_lost() is called once"
    LOST_LAST = "nothing is called after connection_lost()"
    ABORT_SOON = "abort() drops unsent bytes, and connection_lost() follows soon at both ends"
    NOT_WITHIN = "no method of the sink is called from within a call to Pipe"
    PAUSED = "neither data_received() nor eof_received() is called while reading is paused"
    RESUMED = "resume_reading() goes on where reading was paused, and nothing is lost"
    WRITE_IGNORED = "writing to a stream that is closed or lost does nothing, and does not raise"
    FULL = "full says whether more waits than the high-water mark"
    WRITE_LIMIT = "set_write_limit() sets the high-water mark"
    DRAIN_WAITS = "drain() does not return while full is True"
    DRAIN_RETURNS = "drain() returns, in all tasks that wait, when full is False"
    DRAIN_LOST = "drain() returns when the connection is lost"
    WAITING = "waiting() is the number of written bytes that the stream has not taken"
    STARTED = "start() runs a coroutine, in a task of its own"
    CONTEXT = "each step of a coroutine given to start() runs in its context, which others share"
    CANCELLED = "cancel() cancels what start() began and still runs, and nothing else"
    IS_CANCELLATION = "is_cancellation() is true for the cancellation of the task that runs only"
    INFO = "info() returns None for what it does not know, also when the stream is lost"

    NOW = "now() is the loop's clock in seconds, and never goes back"
    SIGNAL_WAITS = "wait() of a signal does not return before set()"
    SIGNAL_KEPT = "wait() returns when set() was called before it"
    SIGNAL_WAKES = "set() wakes all tasks that wait, and a second one changes nothing"
    WAITER_WAITS = "wait() of a waiter does not return before set() or wake()"
    WAITER_LATER = "within a task, set() and wake() of a waiter run no other task"
    WAITER_WAKES = "set() and wake() let the task go on that waits, each time, and else do nothing"
    CALL_AT_CALLS = "call_at() calls once, when the clock shows its time"
    CALL_AT_LATER = "call_at() does not call before its time, and never from within itself"
    CALL_AT_READS = "what has arrived is read before the last of TURNS calls of call_at()"
    CALL_AT_CANCELLED = "a cancelled timer does not call"
    TIMEOUT_RAISES = "timeout_at() cancels its block when the time comes, and raises TimeoutError"
    TIMEOUT_SILENT = "timeout_at() does not change a block that ends in time, nor its exceptions"
    SHIELD = "a cancelled task can wait inside shield()"
    TASK_GROUP = "a task_group() holds connections, and ends without an exception after them"
    SPAWNED = "spawn() runs a coroutine in a task, and what it returns cancels that and no other"
    CHECKPOINT = "checkpoint() lets others run"
    CURRENT_TASK = "current_task() is one object for each task, and no two tasks share one"
    IN_THREAD = "in_thread() returns what the function returns, and raises what it raises"
    BATCH = "batch is one Batch for the whole runtime"
    ADDRESS = "a listener accepts connections at its address()"
    CONNECT_CONNECTED = "connect() returns when connected() of the sink has been called"
    LISTEN_RAISES = "listen() raises OSError for an address in use"
    LISTENER_CLOSES = (
        "after a listener closed, connect() raises OSError, and open connections go on"
    )


class BrokenRule(AssertionError):
    """An adapter breaks a rule of the contract.

    `rule` says which, and `seen` what happened instead.
    """

    def __init__(self, rule: Rule, seen: str) -> None:
        super().__init__(rule, seen)
        self.rule = rule
        self.seen = seen

    def __str__(self) -> str:
        return f"{self.rule}: {self.seen} [{self.rule.name}]"
