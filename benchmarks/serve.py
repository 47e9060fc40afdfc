"""A server under load: many clients on this machine, with batches of what waits together and without.

    python benchmarks/serve.py [--run runs/demo] [--clients 200] [--seconds 60]

Each phase starts `mmkit serve` on a CPU in a process of its own. The clients send sentences with a photo, each the next
one when the last is answered: `--clients` of them to a server that makes batches, as many to one that answers one
request at a time (`--batch-size 1`), and a single one to that. Times are from the first byte sent to the last one
received. A client that gets 429 waits for `Retry-After`. Memory is the server's resident memory, after a first tenth of
the time and at the end. Without `--run`, a tiny model is trained on a sample: its ratio says little of a large one's.
Results are printed and written to `benchmarks/results/serve.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from common import report
from PIL import Image

import mmkit

RECIPE = "hvpnet_twitter15"
NAMES = ("Jordan", "Paris", "Obama", "Mara", "Oslo", "Springfield")
BOUNDARY = "mmkit-benchmark"


@dataclass
class Load:
    """What the clients of a phase saw."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def row(self, phase: str, clients: int, took: float, before: int, after: int) -> dict[str, Any]:
        """A row of the table."""
        ranked = sorted(self.seconds)
        return {
            "phase": phase,
            "clients": clients,
            "answers a second": len(ranked) / took,
            "p50 ms": 1000 * statistics.median(ranked),
            "p95 ms": 1000 * ranked[int(0.95 * (len(ranked) - 1))],
            "answered": self.statuses[200],
            "429": self.statuses[429],
            "errors": sum(n for status, n in self.statuses.items() if status not in (200, 429))
            + sum(self.failures.values()),
            "MB early": before / 2**20,
            "MB at the end": after / 2**20,
        }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--run", type=Path, help="a trained run; default: a sample is trained")
    options.add_argument("--clients", type=int, default=200)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--photo", type=int, default=224, help="pixels of a side; 0: no photos")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = arguments.run or trained(Path(folder) / "run")
        name = run.resolve().name
        bodies = [body(number, arguments.photo) for number in range(64)]
        phases: list[tuple[str, int, list[str]]] = [
            ("batches", arguments.clients, []),
            ("one at a time", arguments.clients, ["--batch-size", "1"]),
            ("one client", 1, ["--batch-size", "1"]),
        ]
        rows = []
        for phase, clients, more in phases:
            with served(run, more) as (process, address):
                path = f"/v1/runs/{name}/predict"
                rows.append(
                    asyncio.run(measured(phase, clients, arguments.seconds, process, address, path, bodies))
                )
                print(rows[-1], flush=True)
    ratio = rows[0]["answers a second"] / rows[1]["answers a second"]
    print(f"batches answer {ratio:.2f} × as many requests a second as one at a time")
    report(
        "serve",
        rows,
        ratio=ratio,
        seconds=arguments.seconds,
        photo=arguments.photo,
        run=arguments.run and name,
    )


def trained(folder: Path) -> Path:
    """A run of a tiny model."""
    mmkit.train(mmkit.sampled(RECIPE), {"training.epochs": 1}, output=folder, device="cpu")
    return folder


@contextmanager
def served(run: Path, options: list[str]) -> Iterator[tuple[psutil.Process, str]]:
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-m", "mmkit", "serve", str(run), "--port", "0", "--device", "cpu", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"on (http://\S+)", process.stdout.readline())
            if found is None:
                raise SystemExit("the server did not start: mmkit serve says why")
            yield psutil.Process(process.pid), found[1]
        finally:
            process.terminate()
            process.wait(60)


async def measured(
    phase: str,
    clients: int,
    seconds: float,
    process: psutil.Process,
    address: str,
    path: str,
    bodies: list[bytes],
) -> dict[str, Any]:
    """The row of a phase."""
    await asked(1, 0, address, path, bodies, Load(), most=3)  # to warm up
    load = Load()
    start = time.perf_counter()
    work = [
        asyncio.create_task(asked(start + seconds, n, address, path, bodies, load)) for n in range(clients)
    ]
    await asyncio.sleep(seconds / 10)
    before = process.memory_info().rss
    await asyncio.gather(*work)
    took = time.perf_counter() - start
    return load.row(phase, clients, took, before, process.memory_info().rss)


async def asked(
    until: float,
    number: int,
    address: str,
    path: str,
    bodies: list[bytes],
    load: Load,
    most: int | None = None,
) -> None:
    """One client: requests on one connection, one after another, until the time is over (or `most` are answered)."""
    found = urlsplit(address)
    try:
        reader, writer = await asyncio.open_connection(found.hostname, found.port)
    except OSError as error:
        load.failures[type(error).__name__] += 1
        return
    sent = 0
    try:
        while sent < most if most is not None else time.perf_counter() < until:
            content = bodies[(number + sent) % len(bodies)]
            start = time.perf_counter()
            writer.write(head(path, found.netloc, len(content)) + content)
            await writer.drain()
            status, headers = await answered(reader)
            sent += 1
            load.statuses[status] += 1
            if status == 200:
                load.seconds.append(time.perf_counter() - start)
            elif status == 429:
                await asyncio.sleep(float(headers["retry-after"]))
    except (OSError, asyncio.IncompleteReadError) as error:
        load.failures[type(error).__name__] += 1
    finally:
        writer.close()


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer, whose body is read and thrown away."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    await reader.readexactly(int(headers.get("content-length", 0)))
    return int(first.split()[1]), headers


def head(path: str, host: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode()


def body(number: int, side: int) -> bytes:
    """A form with a sentence of some length and, unless `side` is 0, a photo."""
    words = [NAMES[(number + i) % len(NAMES)] if i % 3 == 0 else "and then" for i in range(3 + number % 15)]
    parts = [b'Content-Disposition: form-data; name="text"\r\n\r\n' + " ".join(words).encode()]
    if side:
        file = io.BytesIO()
        Image.effect_noise((side, side), 30 + number).convert("RGB").save(file, "JPEG")
        kind = b'Content-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Type: image/jpeg'
        parts.append(kind + b"\r\n\r\n" + file.getvalue())
    line = f"--{BOUNDARY}".encode()
    return b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"


if __name__ == "__main__":
    main()
