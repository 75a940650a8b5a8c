"""The host of an address: a name or an IP address, as a resolver, a server and TLS each want it."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

from wscore.handshake.head import is_host

MALFORMED = "its host or port is malformed"

_ZONE = re.compile(r"%(?:25)?")


@dataclass(frozen=True, slots=True)
class Host:
    """A host name in ASCII, or an IP address."""

    name: str
    """As it is looked up: with a trailing dot if it has one, without a zone."""
    zone: str = ""
    """The zone of a link-local IPv6 address: an interface's name or number."""

    @classmethod
    def parse(cls, text: str) -> "Host":
        """Parse the host of a URL, without brackets. Raises ValueError for an invalid one."""
        if ":" in text:
            address, percent, zone = text, "", ""
            if found := _ZONE.search(text):  # RFC 6874 writes %25, and some write %
                address, percent, zone = text[: found.start()], found[0], text[found.end() :]
            try:
                IPv6Address(address)
            except AddressValueError:
                raise ValueError(MALFORMED) from None
            if percent and not zone:
                raise ValueError("the zone of its IPv6 address is empty: write %25eth0 or none")
            return cls(address.lower(), zone)
        name = text.lower() if text.isascii() else _ascii(text)
        labels = name.removesuffix(".").split(".")
        if not all(0 < len(label) < 64 for label in labels) or len(name) > 254:
            raise ValueError("a label of its host is empty or too long")
        if not is_host(name):
            raise ValueError(MALFORMED)
        return cls(name)

    @property
    def dialled(self) -> str:
        """What a resolver takes."""
        return f"{self.name}%{self.zone}" if self.zone else self.name

    @property
    def shown(self) -> str:
        """As in a URL and a Host header: a zone means nothing to others (RFC 6874 section 4)."""
        return f"[{self.name}]" if ":" in self.name else self.name

    @property
    def certified(self) -> str:
        """As in a certificate, and in TLS's server name, which has no dot at its end (RFC 6066
        section 3)."""
        return self.name.removesuffix(".")


def _ascii(name: str) -> str:
    """A name in ASCII by IDNA 2008 and UTS 46, as in browsers; Python's own is IDNA 2003, which
    leads to other hosts."""
    try:
        import idna
    except ImportError:
        raise ValueError(
            "a host that is not ASCII needs pip install 'wstransports[idna]', or write its ASCII"
            " form (xn--...)"
        ) from None
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"its host is not a domain name: {error}") from None
