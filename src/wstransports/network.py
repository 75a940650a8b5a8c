"""Which addresses count as one client's."""

from ipaddress import IPv6Address, ip_address

# In IPv6 each subscriber has at least a /64, and so 2**64 addresses to come from (RFC 6177).
_PREFIX_BYTES = 8


def network(host: str) -> bytes:
    """The IPv4 address, or the network of an IPv6 address, in bytes: the same for one client.

    An IPv4 address that is written as an IPv6 one is that IPv4 address.
    """
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return address.packed[:_PREFIX_BYTES] if mapped is None else mapped.packed
    return address.packed
