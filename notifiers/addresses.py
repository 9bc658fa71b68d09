"""Addresses that a webhook must not reach: our own machine, private networks, the clouds' metadata services."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

#: Public by their number, to some versions of Python, and yet a host's own metadata service (Azure, Oracle).
METADATA = {ip_address("168.63.129.16"), ip_address("192.0.0.192")}
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


def is_public(text: str) -> bool:
    """Whether an address (as a socket names it) is one that anyone on the Internet has."""
    return all(_is_public(address) for address in _meant(ip_address(text.partition("%")[0])))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved and address not in METADATA


def _meant(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address, or where it leads when it only wraps an IPv4 address."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in NAT64:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    return [address, *(address.teredo or ())]
