"""Who may ask: the key, the names by which a server on this machine is called, pages of other sites."""

from __future__ import annotations

from pathlib import Path

import click.testing
import httpx
import pytest

from mmkit.cli import main
from mmkit.errors import MMKitError
from mmkit.hooks import hookimpl, registered
from mmkit_serve.runs import load_runs
from mmkit_serve.settings import KEY, Settings, key_from
from serving import TEXT, Served, error

PREDICT = "/v1/runs/tagger/predict"
SECRET = "correct-horse-battery-staple"


def test_a_key_is_needed_for_everything_with_data(serve: Served) -> None:
    with serve(key=SECRET) as client:
        right = [
            {"authorization": f"Bearer {SECRET}"},
            {"authorization": f"bearer {SECRET}"},
            {"x-api-key": SECRET},
        ]
        wrong = [
            {},
            {"authorization": f"Bearer {SECRET}x"},
            {"authorization": f"Basic {SECRET}"},
            {"authorization": SECRET},
            {"x-api-key": SECRET[:-1]},
            {"x-api-key": ""},
            {"x-api-key": b"caf\xe9"},
        ]
        for headers in right:
            assert client.post(PREDICT, json={"text": TEXT}, headers=headers).status_code == 200
            assert client.get("/metrics", headers=headers).status_code == 200
        for headers in wrong:
            for response in (
                client.post(PREDICT, json={"text": TEXT}, headers=headers),
                client.post("/v1/runs/tagger/batch", content=b"a" * 20_000_000, headers=headers),
                client.get("/v1/runs", headers=headers),
                client.get("/metrics", headers=headers),
                client.get("/v1/no-such", headers=headers),
            ):
                assert error(response) == (401, "serve.key")
                assert response.headers["www-authenticate"] == "Bearer"
                assert SECRET not in response.text
        described = client.get("/openapi.json").json()
        assert described["security"] == [{"key": []}]
        assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        for path in ("/", "/healthz", "/docs", "/openapi.json", "/static/page.js"):
            assert client.get(path).status_code == 200


def test_other_names_and_other_sites_are_refused(serve: Served) -> None:
    with serve(hosts=("models.example",)) as client:
        own = f"127.0.0.1:{client.base_url.port}"
        for host in ("localhost", own, "[::1]:80", "LOCALHOST:1", "models.example"):
            assert client.get("/v1/runs", headers={"host": host}).status_code == 200
        for host in ("evil.example", "127.0.0.1.evil.example", "", "[", "localhost@evil.example:1"):
            assert error(client.get("/", headers={"host": host})) == (400, "serve.host")
        page = {"origin": f"http://{own}"}
        assert client.post(PREDICT, json={"text": TEXT}, headers=page).status_code == 200
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            response = client.post(PREDICT, json={"text": TEXT}, headers={"origin": origin})
            assert error(response) == (403, "serve.other-site")
            assert "access-control-allow-origin" not in response.headers


def test_keys_that_are_easily_guessed_are_refused() -> None:
    assert key_from({}) == ""
    assert key_from({KEY: f" {SECRET} "}) == SECRET
    for weak in ("short", "with spaces in it, many", "ünïcödé-ünïcödé-ünïcödé"):
        with pytest.raises(MMKitError) as caught:
            key_from({KEY: weak})
        assert caught.value.code == "serve.weak-key" and weak not in str(caught.value)


def test_without_a_key_a_server_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    for host in ("0.0.0.0", "192.0.2.1", "::", "models.example"):
        done = click.testing.CliRunner().invoke(main, ["serve", "runs/none", "--host", host])
        assert done.exit_code == 2 and "serve.no-key" in done.output and KEY in done.output
    assert (
        Settings().on_loopback and Settings(host="::1").on_loopback and Settings(host="localhost").on_loopback
    )
    assert not Settings(host="0.0.0.0").on_loopback
    assert Settings(host="0.0.0.0").allowed_hosts is None


def test_wrong_addresses_and_runs_are_errors(serve: Served, tmp_path) -> None:
    run = click.testing.CliRunner().invoke
    with serve() as client:
        taken = run(main, ["serve", "runs/none", "--port", str(client.base_url.port)])
        assert taken.exit_code == 2 and "serve.address" in taken.output
    absent = run(main, ["serve", str(tmp_path / "none"), "--port", "0"])
    assert absent.exit_code == 2 and "run.not-a-run" in absent.output
    twice = run(main, ["serve", "a/run", "b/run", "--port", "0"])
    assert twice.exit_code == 2 and "first=a/run second=b/run" in twice.output
    odd = run(main, ["serve", "my run", "--port", "0"])
    assert odd.exit_code == 2 and "serve.run-name" in odd.output


def test_answers_carry_headers_for_browsers(client: httpx.Client) -> None:
    headers = client.get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-request-id"] != client.get("/").headers["x-request-id"]


def test_a_run_that_an_address_names_has_the_addresss_last_part_for_its_name(tagger: Path) -> None:
    class Opener:
        @hookimpl
        def mmkit_open_run(self, address: str) -> Path:
            return tagger

    with registered(Opener()):
        assert list(load_runs(["s3://user/demo@abc", "other=s3://user/demo"], "cpu")) == ["demo", "other"]
