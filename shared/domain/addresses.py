"""Which addresses webhooks may go to: those of the public Internet, at ports where receivers listen.

Sources: the IANA registries of special-purpose IPv4 and IPv6 addresses (RFC 6890 and its updates).
"""

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_network
from urllib.parse import urlsplit

from shared.domain.errors import RefusedError

_LONGEST_URL = 2_000
_NOT_PUBLIC_V4 = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: here clouds keep their metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
#: All public addresses lie in here, so IPv4-mapped, NAT64, unique local and link-local ones do not.
_GLOBAL_UNICAST = ip_network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    ip_network(block)
    for block in (
        "2001::/23",  # Teredo among them, which carries an IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4, the same
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public Internet, and carries no other one inside."""
    found = ip_address(address)
    if isinstance(found, IPv4Address):
        return not any(found in block for block in _NOT_PUBLIC_V4)
    if found.scope_id is not None:
        return False
    return found in _GLOBAL_UNICAST and not any(found in block for block in _NOT_PUBLIC_V6)


def is_loopback(address: str) -> bool:
    """Return whether an IP address is this machine's own, written plainly."""
    return ip_address(address).is_loopback


def checked_url(url: str, *, loopback: bool) -> str:
    """Return the address of a receiver if it may be one; raises RefusedError.

    It is https, on port 443 or one that no service of the system has. ``loopback`` allows http too, to this
    machine. Where a name leads is looked at with every attempt, not here.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise RefusedError("the address of a receiver is a URL such as https://example.com/hooks") from None
    if len(url) > _LONGEST_URL or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise RefusedError("the address of a receiver is a URL such as https://example.com/hooks")
    here = loopback and (host == "localhost" or _is_ip(host, is_loopback))
    if parts.scheme != "https" and not (here and parts.scheme == "http"):
        raise RefusedError("the address of a receiver begins with https://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise RefusedError("the address of a receiver has no user, password or fragment")
    if not here and _is_ip(host, lambda address: not is_public(address)):
        raise RefusedError(f"{host} is no address of the public Internet")
    if not here and port is not None and port != 443 and port < 1024:
        raise RefusedError(f"webhooks go to port 443 or to one from 1024 on, not to {port}")
    return url


def _is_ip(host: str, true: Callable[[str], bool]) -> bool:
    try:
        return true(host)
    except ValueError:
        return False  # a name
