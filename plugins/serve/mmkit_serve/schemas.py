"""The OpenAPI description of a run's requests and answers, made from its task's `inputs` and `schema()`."""

from __future__ import annotations

from typing import Any

from mmkit.tasks import Input, Task
from mmkit_serve import errors

Schema = dict[str, Any]

BEST = 5
"""The links that `link` gives, if it is not asked for more."""

_IMAGE: Schema = {
    "anyOf": [
        {
            "type": "string",
            "contentEncoding": "base64",
            "description": "the file, as base64 or a data: address",
        },
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "data": {"type": "string", "contentEncoding": "base64"},
            },
            "required": ["data"],
            "additionalProperties": False,
        },
    ]
}
_BOUNDS: Schema = {
    "type": "array",
    "prefixItems": [{"type": "integer"}, {"type": "integer"}],
    "minItems": 2,
    "maxItems": 2,
}
_TEXT: Schema = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "description": "a sentence, or its tokens",
}
_CODES = {
    400: "not HTTP, not JSON, or not a form",
    401: "the key is missing or wrong",
    408: "the body arrived too slowly",
    413: "the body or an image is too large",
    415: "a body of another media type",
    422: "a request that this run cannot answer",
    429: "too many requests wait: try again after `Retry-After` seconds",
    503: "the server cannot answer in time, or is stopping",
}


def answer(task: Task) -> Schema:
    """The JSON schema of a task's answers, as a part of a document."""
    return {key: value for key, value in task.schema().items() if key != "$schema"}


def record(task: Task) -> Schema:
    """The JSON schema of a request."""
    return {
        "type": "object",
        "properties": {
            "text": _TEXT,
            "images": {"type": "array", "items": _IMAGE, "description": "uploads: no paths, no addresses"},
            "id": {"type": "string", "description": "comes back in the answer"},
            **{i.name: _input(i) for i in task.inputs},
        },
        "required": ["text", *(i.name for i in task.inputs if i.required)],
        "additionalProperties": False,
    }


def form(task: Task) -> Schema:
    """The schema of the same request as a form."""
    files = {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}}
    plain = {"type": "string"}
    given = {
        i.name: {**({"type": "array", "items": plain} if i.many else plain), "description": i.help}
        for i in task.inputs
    }
    return {
        "type": "object",
        "properties": {"text": plain, "images": files, "id": plain, **given},
        "required": ["text", *(i.name for i in task.inputs if i.required)],
    }


def one(task: Task) -> dict[str, Any]:
    """The request body of `predict`."""
    return _body({"application/json": record(task), "multipart/form-data": form(task)})


def link(task: Task) -> dict[str, Any]:
    """The request body of `link`: that of `predict`, and `top`."""
    top = {"type": "integer", "minimum": 1, "default": BEST, "description": "how many entities to give"}
    found = {"application/json": record(task), "multipart/form-data": form(task)}
    for schema in found.values():
        schema["properties"]["top"] = top
    return _body(found)


def many(task: Task) -> dict[str, Any]:
    """The request body of `predict-many`."""
    requests = {"type": "array", "items": record(task), "minItems": 1}
    return _body(
        {
            "application/json": {
                "type": "object",
                "properties": {"requests": requests},
                "required": ["requests"],
                "additionalProperties": False,
            }
        }
    )


def batch(task: Task) -> dict[str, Any]:
    """The request body of `batch`: jsonlines, described by one line."""
    return _body({"application/jsonl": record(task)})


def responses(answered: Schema, kind: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """The responses of a route: what it gives, and all errors."""
    wrong = {"application/json": {"schema": errors.SCHEMA}}
    return {
        200: {"description": "Answered", "content": {kind: {"schema": answered}}},
        **{code: {"description": what, "content": wrong} for code, what in _CODES.items()},
    }


def envelope(field: str, schema: Schema, **further: Schema) -> Schema:
    """An object with the run's name and version beside what was found."""
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {"run": text, "version": text, field: schema, **further},
        "required": ["run", "version", field],
    }


def _input(wanted: Input) -> Schema:
    kinds: dict[str, Schema] = {
        "words": {"anyOf": [{"type": "string"}, _BOUNDS]},
        "number": {"type": "number"},
        "json": {},
    }
    schema = kinds.get(wanted.kind, {"type": "string"})
    if wanted.many:
        schema = {"type": "array", "items": schema}
    return {**schema, "description": wanted.help}


def _body(schemas: dict[str, Schema]) -> dict[str, Any]:
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}
