"""Logs as JSON, one object a line on standard error. Texts, and messages that may quote them, only if asked for."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from mmkit.errors import escaped

LOGGER = "mmkit.serve"
FIELDS = "mmkit_fields"
"""The attribute of a log record that holds the fields of its line."""


class JsonLines(logging.Formatter):
    """A log record as a line of JSON."""

    def __init__(self, texts: bool) -> None:
        super().__init__()
        self.texts = texts

    def format(self, record: logging.LogRecord) -> str:
        """The line. Without `texts`, an exception has its type and places, not its message."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        fields = getattr(record, FIELDS, None)
        line |= (
            fields if fields is not None else {"event": "log", "logger": record.name, **self._message(record)}
        )
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = self._error(record.exc_info[1])
        return escaped(json.dumps(line, ensure_ascii=False, default=repr))

    def _message(self, record: logging.LogRecord) -> dict[str, str]:
        """A library's message. Warnings of parts may quote texts."""
        own = record.name.partition(".")[0] in ("uvicorn", "mmkit") and not record.exc_info
        return {"message": record.getMessage() if self.texts or own else str(record.msg)[:200]}

    def _error(self, error: BaseException) -> dict[str, Any]:
        frames = traceback.extract_tb(error.__traceback__)
        found: dict[str, Any] = {
            "type": type(error).__name__,
            "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        }
        return found | ({"message": str(error)} if self.texts else {})


def set_up(texts: bool) -> logging.Logger:
    """Send all logs to standard error as JSON lines; returns the server's own logger."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(texts))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    own = logging.getLogger(LOGGER)
    own.setLevel(logging.INFO)
    return own


def log(event: str, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event with its fields."""
    logging.getLogger(LOGGER).log(level, event, extra={FIELDS: {"event": event, **fields}}, exc_info=error)
