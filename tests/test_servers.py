"""Which server gets a key: the one that the environment names beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.access.servers import check_secret_way, is_loopback, is_named, key_goes_to, origin
from raising import raises

NAMED = "T_SERVER_URL"


@pytest.mark.parametrize(
    ("url", "named", "sent"),
    [
        ("https://search.org", "https://search.org", True),
        ("https://search.org/", "https://search.org:443/path", True),
        ("https://SEARCH.org.:443", "https://search.org", True),
        ("https://search.org", "https://other.org, https://search.org", True),
        ("https://search.org", "https://other.org https://search.org", True),
        ("http://127.0.0.1:9200", "http://127.0.0.1:9200", True),
        ("http://[::1]:9200", "http://[::1]:9200", True),
        ("http://localhost:9200", "http://localhost:9200", True),
        ("https://evil.org", "https://search.org", False),
        ("https://search.org.evil.org", "https://search.org", False),
        ("https://search.org@evil.org", "https://search.org", False),
        ("https://evil.org/https://search.org", "https://search.org", False),
        ("https://evil.org#search.org", "https://search.org", False),
        ("https://search.org:9200", "https://search.org", False),
        ("http://search.org", "https://search.org", False),
        ("http://127.0.0.2:9200", "http://127.0.0.1:9200", False),
        ("http://localhost:9200", "http://127.0.0.1:9200", False),
        ("https://search.org", "", False),
        ("https://search.org", "search.org", False),
        ("not an address", "not an address", False),
        ("https://[search", "https://[search", False),
        ("https://search.org:port", "https://search.org:port", False),
    ],
)
def test_a_key_goes_to_the_server_named_beside_it(
    url: str, named: str, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAMED, named)
    assert key_goes_to(url, NAMED) is sent
    assert is_named(url, NAMED) is sent


def test_a_default_stands_for_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAMED, raising=False)
    assert key_goes_to("https://public.org/v1", NAMED, "https://public.org")
    monkeypatch.setenv(NAMED, "https://mine.org")
    assert not key_goes_to("https://public.org/v1", NAMED, "https://public.org")


@pytest.mark.parametrize("url", ["http://search.org", "http://10.0.0.7:9200", "http://localhost.evil.org"])
def test_no_key_crosses_a_network_in_plain_text(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAMED, url)
    with raises("network.plain-key", match="plain text"):
        key_goes_to(url, NAMED)


def test_credentials_in_an_address_are_not_repeated() -> None:
    with raises("network.plain-key") as caught:
        check_secret_way("http://me:s3cret@search.org/v1")
    assert "s3cret" not in str(caught.value)
    check_secret_way("https://me:s3cret@search.org/v1")


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)),
        *(("128.0.0.1", False), ("example.org", False), ("", False), ("localhost.org", False)),
    ],
)
def test_this_machine(host: str, own: bool) -> None:
    assert is_loopback(host) is own


@given(st.text(max_size=60))
def test_any_text_may_be_an_address(text: str) -> None:
    assert origin(text) is None or origin(text) == origin(text + "/")
    assert is_named(text, "T_NOT_SET") is False


@given(
    st.sampled_from(["http", "https"]),
    st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8}){0,2}", fullmatch=True),
    st.integers(1, 65535),
)
def test_an_origin_is_scheme_host_and_port(scheme: str, host: str, port: int) -> None:
    assert origin(f"{scheme}://{host}:{port}/a?b#c") == (scheme, host, port)
    assert origin(f"{scheme}://user:word@{host.upper()}:{port}") == (scheme, host, port)
