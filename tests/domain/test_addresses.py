"""Webhooks go to the public Internet and nowhere else."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.addresses import checked_url, is_public
from shared.domain.errors import RefusedError

_INSIDE = (
    "0.0.0.0",  # noqa: S104 - an address to be refused
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
)
_OUTSIDE = ("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1")


@pytest.mark.parametrize("address", _INSIDE)
def test_addresses_inside_are_none_of_the_public_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", _OUTSIDE)
def test_addresses_outside_are(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_special(address: IPv4Address | IPv6Address) -> None:
    if is_public(str(address)):
        assert address.is_global
        assert not address.is_private
        assert not address.is_reserved
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_comes_in_another_ones_clothes(address: IPv4Address) -> None:
    number = int(address)
    assert not is_public(f"::ffff:{address}")
    assert not is_public(str(IPv6Address(0x2002 << 112 | number << 80)))
    assert not is_public(str(IPv6Address((0x0064FF9B << 96) | number)))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hooks",
        "https://example.com:443/hooks?x=1",
        "https://example.com:8443",
        "https://example.com:1024/",
        "https://example.com/" + "x" * 1_980,
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ],
)
def test_an_https_address_is_taken(url: str) -> None:
    assert checked_url(url, loopback=False) == url


_REFUSED = {
    r"^the address of a receiver begins with https://$": (
        "http://example.com/",
        "ftp://example.com/",
        "gopher://example.com/",
        "http://localhost:8080/",
    ),
    r"^the address of a receiver is a URL such as https://example.com/hooks$": (
        "file:///etc/passwd",
        "example.com",
        "https://",
        "https:///path",
        "https://example.com:99999/",
        "https://example.com/\r\nHost: inside",
        "https://example.com/a b",
        "https://example.com/\x7f",
        "https://exämple.com/",
        "https://example.com/" + "x" * 1_981,
        "https://[::1/",
    ),
    r"^the address of a receiver has no user, password or fragment$": (
        "https://user:secret@example.com/",  # pragma: allowlist secret
        "https://user@example.com/",
        "https://example.com/#fragment",
    ),
    r" is no address of the public Internet$": (
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
    ),
    r"^webhooks go to port 443 or to one from 1024 on, not to \d+$": (
        "https://example.com:22/",
        "https://example.com:1023/",
    ),
}


@pytest.mark.parametrize(("why", "url"), [(why, url) for why, urls in _REFUSED.items() for url in urls])
def test_any_other_is_refused_with_the_reason(why: str, url: str) -> None:
    with pytest.raises(RefusedError, match=why):
        checked_url(url, loopback=False)


def test_only_a_setting_lets_this_machine_be_a_receiver() -> None:
    for url in ("http://127.0.0.1:5000/hooks", "http://localhost:80/", "http://[::1]:8080/"):
        assert checked_url(url, loopback=True) == url
        with pytest.raises(RefusedError):
            checked_url(url, loopback=False)
    with pytest.raises(RefusedError):
        checked_url("http://10.0.0.1/", loopback=True)
