"""How many things a second are allowed: a token bucket. The clock is an argument."""


class TokenBucket:
    """Holds up to a second's worth of tokens, at least one; `rate` come in a second."""

    __slots__ = ("_at", "_most", "_rate", "tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._most = max(float(rate), 1.0)
        self.tokens: float = self._most
        """How many there are; negative after more were taken."""
        self._rate = rate
        self._at = now

    def refill(self, now: float) -> None:
        """Add those that have come since the last call."""
        self.tokens = min(self._most, self.tokens + (now - self._at) * self._rate)
        self._at = now

    def wait(self) -> float:
        """In how many seconds there will be a whole one; 0 or less if there is one."""
        return (1 - self.tokens) / self._rate
