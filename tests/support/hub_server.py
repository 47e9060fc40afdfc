"""The part of the Hub's interface that huggingface_hub's client uses to make, fill and read a model repository."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret"

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


@dataclass
class Repository:
    """A repository with one branch: commits, each a whole set of files."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    head: str = ""
    large: set[str] = field(default_factory=set)
    """SHA-256 of the files that are stored elsewhere."""

    def commit(self, changes: dict[str, bytes]) -> str:
        """Add or replace files; returns the new commit."""
        files = {**self.commits.get(self.head, {}), **changes}
        said = json.dumps([self.head, sorted((n, hashlib.sha256(c).hexdigest()) for n, c in files.items())])
        self.head = hashlib.sha1(said.encode()).hexdigest()
        self.commits[self.head] = files
        return self.head


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    host: str
    token: str
    body: bytes


class FakeHub:
    """A Hub on this machine. `before` may answer a request in place of it; `requests` are all that came."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.before: Callable[[Request], Answer | None] = lambda request: None
        self.known_token = TOKEN
        self.released = threading.Event()
        """Set at the end: lets go of requests that wait."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                request = Request(self.command, unquote(self.path), self.headers["Host"], token, body)
                hub.requests.append(request)
                status, headers, content = hub.answer(request)
                self.send_response(status)
                length_said = headers.pop("Content-Length", str(len(content)))
                for name, value in {**headers, "Content-Length": length_said, "Connection": "close"}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
                self.close_connection = True

            do_GET = do_POST = do_HEAD = do_PUT = handle_any  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes away is no error."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.other_address = f"http://localhost:{self.port}"
        """The same server by another name: to a client it is another one."""
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def paths(self, method: str) -> list[str]:
        """The paths that were asked for with a method."""
        return [urlsplit(request.path).path for request in self.requests if request.method == method]

    def answer(self, request: Request) -> Answer:
        """The Hub's answer, unless `before` has one."""
        own = self.before(request)
        if own is not None:
            return own
        path = urlsplit(request.path).path
        for pattern, handle in (
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", lambda request: as_json({"errors": [], "warnings": []})),
            (r"/api/models/([^/]+/[^/]+)/preupload/main", self._preupload),
            (r"/api/models/([^/]+/[^/]+)/commit/main", self._commit),
            (r"/api/models/([^/]+/[^/]+)", self._info),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/stored/([0-9a-f]{64})", self._stored),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ):
            if found := re.fullmatch(pattern, path):
                return handle(request, *found.groups())  # type: ignore[operator]
        return refusal(404, "", "there is no such path")

    def _create(self, request: Request) -> Answer:
        if request.token != self.known_token:
            return refusal(401, "", "Invalid credentials in Authorization header")
        wanted = json.loads(request.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.repositories:
            told = {"error": "You already created this model repo", "url": f"{self.address}/{name}"}
            return 409, {}, json.dumps(told).encode()
        self.repositories[name] = Repository(wanted.get("visibility") == "private")
        self.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return as_json({"url": f"{self.address}/{name}"})

    def _visible(self, request: Request, name: str) -> Repository | None:
        found = self.repositories.get(name)
        return None if found is not None and found.private and request.token != self.known_token else found

    def _info(self, request: Request, name: str) -> Answer:
        found = self._visible(request, name)
        if found is None:
            return refusal(404, "RepoNotFound", "Repository not found")
        return as_json({"id": name, "sha": found.head, "private": found.private, "siblings": [], "tags": []})

    def _preupload(self, request: Request, name: str) -> Answer:
        files = json.loads(request.body)["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        return as_json({"files": modes})

    def _batch(self, request: Request, name: str) -> Answer:
        objects = json.loads(request.body)["objects"]
        for wanted in objects:
            if wanted["oid"] not in self.stored:  # what is there already needs no action
                wanted["actions"] = {"upload": {"href": f"{self.other_address}/stored/{wanted['oid']}"}}
        return as_json({"transfer": "basic", "objects": objects})

    def _stored(self, request: Request, oid: str) -> Answer:
        if request.method == "PUT":
            assert hashlib.sha256(request.body).hexdigest() == oid
            self.stored[oid] = request.body
            return 200, {}, b""
        return 200, {"Content-Type": "application/octet-stream"}, self.stored[oid]

    def _commit(self, request: Request, name: str) -> Answer:
        if request.token != self.known_token:
            return refusal(403, "", "no write access")
        changes: dict[str, bytes] = {}
        for line in request.body.splitlines():
            said = json.loads(line)
            value = said["value"]
            if said["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif said["key"] == "lfsFile":
                changes[value["path"]] = self.stored[value["oid"]]
                self.repositories[name].large.add(value["oid"])
        commit = self.repositories[name].commit(changes)
        return as_json(
            {"commitUrl": f"{self.address}/{name}/commit/{commit}", "commitOid": commit, "success": True}
        )

    def _resolve(self, request: Request, name: str, revision: str, file: str) -> Answer:
        repository = self._visible(request, name)
        if repository is None:
            return refusal(404, "RepoNotFound", "Repository not found")
        commit = repository.head if revision == "main" else revision
        if commit not in repository.commits:
            return refusal(404, "RevisionNotFound", "Invalid rev id")
        if file not in repository.commits[commit]:
            return refusal(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        content = repository.commits[commit][file]
        oid = hashlib.sha256(content).hexdigest()
        if oid in repository.large:
            self.stored[oid] = content
            headers = {
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{oid}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"{self.other_address}/stored/{oid}",
            }
            return 302, headers, b""
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content


def as_json(content: Any) -> Answer:
    """An answer of JSON."""
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    """An error as the Hub gives it."""
    said = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
    return status, said, json.dumps({"error": message}).encode()
