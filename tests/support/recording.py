"""A chat server on this machine that keeps what it is asked, and answers as a test says."""

from __future__ import annotations

import json
from typing import Any

from hostile_server import Handler, HostileServer


class Recording(Handler):
    """Keeps the body of each request in the server's `bodies`."""

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        self.server.bodies.append(body)  # type: ignore[attr-defined]
        self.server.answer(self)

    @property
    def body(self) -> dict[str, Any]:
        """The request that is answered."""
        last: dict[str, Any] = self.server.bodies[-1]  # type: ignore[attr-defined]
        return last


def say(handler: Any, text: str = "{}", finish: str = "stop", **more: Any) -> None:
    """Answer with that text."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    handler.say({"choices": [choice], **more})


def recording_server(answer: Any = say) -> Any:
    """A server that has not started; `with` starts it."""
    running: Any = HostileServer(answer, handler=Recording)
    running.bodies = []
    return running
