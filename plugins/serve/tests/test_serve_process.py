"""The command as a process: requests that arrive together, a full queue, SIGTERM, kill -9, and logs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mmkit_serve.runs import Ask, ServedRun
from mmkit_serve.settings import KEY
from serving import TEXT, Served, error

PREDICT = "/v1/runs/tagger/predict"
SECONDS = 60.0


class Gate:
    """Holds a run's batches back until it is opened."""

    def __init__(self, run: ServedRun) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        self._told = run.told

    def __call__(self, asks: Sequence[Ask], batch_size: int) -> list[Any]:
        self.reached.set()
        assert self.open.wait(SECONDS)
        self.sizes.append(len(asks))
        return self._told(asks, batch_size)


@pytest.fixture
def gate(runs: dict[str, ServedRun], monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(runs["tagger"])
    monkeypatch.setattr(ServedRun, "told", lambda self, asks, size: gate(asks, size))
    return gate


def waiting(client: httpx.Client) -> int:
    return int(client.get("/healthz").json()["waiting"])


def test_requests_that_arrive_together_are_one_batch_and_the_rest_is_refused(
    serve: Served, gate: Gate
) -> None:
    with serve(queue=5, batch_size=8) as client, ThreadPoolExecutor(8) as threads:

        def ask(text: str) -> httpx.Response:
            return client.post(PREDICT, json={"text": text})

        first = threads.submit(ask, "first")
        assert gate.reached.wait(SECONDS)
        others = [threads.submit(ask, f"Jordan {i}") for i in range(5)]
        while waiting(client) < 5:
            pass
        refused = ask("too many")
        assert error(refused) == (429, "serve.queue-full") and int(refused.headers["retry-after"]) > 0
        gate.open.set()
        answers = [future.result(SECONDS) for future in [first, *others]]
        assert [a.json()["answer"]["text"] for a in answers] == ["first", *(f"Jordan {i}" for i in range(5))]
        assert gate.sizes == [1, 5]


def test_an_answer_that_takes_too_long_is_refused(serve: Served, gate: Gate) -> None:
    with serve(timeout=0.2) as client:
        assert error(client.post(PREDICT, json={"text": TEXT})) == (503, "serve.timeout")
        gate.open.set()


def test_a_request_whose_client_is_gone_is_not_computed(serve: Served, gate: Gate) -> None:
    with serve() as client, ThreadPoolExecutor(2) as threads:
        first = threads.submit(client.post, PREDICT, json={"text": "first"})
        assert gate.reached.wait(SECONDS)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{client.base_url}{PREDICT}", json={"text": "gone"}, timeout=0.5, trust_env=False)
        while 'status="499"' not in client.get("/metrics").text:
            pass
        gate.open.set()
        assert first.result(SECONDS).status_code == 200
        assert client.post(PREDICT, json={"text": "next"}).status_code == 200
        assert gate.sizes == [1, 1]


def test_images_are_gone_after_their_request(serve: Served, photo: bytes) -> None:
    before = set(kept_images())
    with serve() as client:
        for content in (photo, photo[:500]):
            client.post(PREDICT, data={"text": TEXT}, files=[("images", ("a.jpg", content))] * 2)
        [folder] = set(kept_images()) - before
        assert list(folder.iterdir()) == [] and folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def kept_images() -> list[Path]:
    """The folders of servers for images."""
    return list(Path(tempfile.gettempdir()).glob(".mmkit-serve.*"))


@contextmanager
def process(run: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`mmkit serve` on a free port, and its address."""
    command = [sys.executable, "-m", "mmkit", "serve", str(run), "--port", "0", "--device", "cpu", *options]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        assert started.stdout is not None and started.stderr is not None
        told = started.stdout.readline()
        found = re.search(r"on (http://\S+)", told)
        assert found, started.stderr.read()
        yield started, found[1]
    finally:
        started.kill()
        started.communicate()


def test_sigterm_answers_what_is_in_flight_and_logs_say_no_texts(tagger: Path) -> None:
    key = "a-key-of-the-tests-0123456789"
    secret = "Jordan secretly"
    with (
        process(tagger, **{KEY: key}) as (server, url),
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        client.headers["authorization"] = f"Bearer {key}"
        assert client.post(PREDICT, json={"text": secret}).status_code == 200
        assert client.post(PREDICT, json={"text": secret, secret: 1}).status_code == 422
        lines = b"\n".join(json.dumps({"text": secret}).encode() for _ in range(300))
        kind = {"content-type": "application/jsonl"}
        with client.stream("POST", "/v1/runs/tagger/batch", content=lines, headers=kind) as response:
            pieces = response.iter_lines()
            first = next(pieces)
            server.send_signal(signal.SIGTERM)
            answers = [first, *pieces]
        assert len(answers) == 300 and all("entities" in json.loads(line) for line in answers)
        _, logged = server.communicate(timeout=SECONDS)
        assert server.returncode == 0
        with pytest.raises(httpx.ConnectError):
            client.get("/healthz")
    events = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    assert [e["event"] for e in events] == ["started", "request", "request", "request", "stopped"]
    assert [e["status"] for e in events[1:4]] == [200, 422, 200]
    assert events[3]["texts"] == 300 and events[3]["errors"] == 0
    assert secret not in logged and "secretly" not in logged and key not in logged


@pytest.mark.matrix
def test_after_kill_9_a_server_starts_again_and_cleans_up(tagger: Path, photo: bytes, tmp_path: Path) -> None:
    here = {"TMPDIR": str(tmp_path)}
    with process(tagger, "--log-texts", **here) as (server, url):
        answered = httpx.post(f"{url}{PREDICT}", json={"text": "Jordan \x1b[2J"}, trust_env=False)
        assert answered.status_code == 200
        assert server.stderr is not None
        logged = next(
            line for line in server.stderr if '"event": "request"' in line
        )  # it comes after the answer
        server.kill()
        server.communicate(timeout=SECONDS)
        assert '"asked": ["Jordan \\u001b[2J"]' in logged
    [left] = tmp_path.glob(".mmkit-serve.*")
    with process(tagger, **here) as (server, url):
        body = httpx.get(f"{url}/v1/runs", trust_env=False).json()
        assert [run["name"] for run in body["runs"]] == ["tagger"]
        assert not left.exists()
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=SECONDS)
        assert server.returncode == 0
    assert list(tmp_path.glob(".mmkit-serve.*")) == []
