"""What a client asks: records of JSON or forms become questions, whose images are bytes. No path is opened."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmkit.data.json_text import parse_line
from mmkit.errors import CONTROLS, DataError, near_misses
from mmkit.tasks import Input, Task
from mmkit_serve.settings import Settings

COMMON = ("text", "images", "id")
"""The fields that all requests have."""

LONGEST_NAME = 100
_DATA_URL = re.compile(r"data:[\w.+/-]*;base64,")
_BOUNDS = re.compile(r"\s*\[\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\]\s*")


@dataclass(frozen=True)
class Given:
    """An uploaded image: what it is called in answers and messages, and the bytes of its file."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Question:
    """What is asked about one text."""

    id: str
    text: str | list[str]
    images: tuple[Given, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    where: str = "the request"
    """Where it is in what was sent: "line 3"."""


def json_of(body: bytes | bytearray | memoryview, where: str) -> Any:
    """The JSON value of a body. Raises `DataError` for anything but UTF-8 JSON without repeated fields."""
    try:
        text = str(body, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the JSON is not UTF-8 (byte {error.start})", where=where, code="serve.not-utf8"
        ) from None
    return parse_line(text, where)


def question_of(record: Any, task: Task, limits: Settings, where: str) -> Question:
    """The question of a record. Raises `DataError` for what is missing, unknown or of a wrong type."""
    if not isinstance(record, dict):
        raise DataError(
            f"a request is a JSON object, not {_kind(record)}",
            where=where,
            hint='{"text": "look at Jordan !"}',
            code="serve.fields",
        )
    inputs = {i.name: i for i in task.inputs}
    _check_fields(record, task, inputs, where)
    id = record.get("id", "input")
    if not isinstance(id, str) or not 0 < len(id) <= LONGEST_NAME:
        raise DataError(
            f"`id` must be a string of 1 to {LONGEST_NAME} characters", where=where, code="serve.fields"
        )
    given = {
        name: _value(record[name], wanted, limits, where)
        for name, wanted in inputs.items()
        if record.get(name) is not None
    }
    return Question(
        id, _text(record.get("text"), limits, where), _images(record, limits, where), given, where
    )


def form_record(fields: Sequence[tuple[str, str | Given]], task: Task, where: str) -> dict[str, Any]:
    """A record of a form's fields: text fields by name, files under `images`. Raises `DataError`."""
    inputs = {i.name: i for i in task.inputs}
    record: dict[str, Any] = {}
    images: list[Given] = []
    for name, value in fields:
        if isinstance(value, Given):
            if name not in ("images", "image"):
                raise DataError(
                    f"the file is in the field {name!r}",
                    where=where,
                    hint="name it `images`",
                    code="serve.fields",
                )
            if value.content or value.name:  # a browser sends an empty file for an empty field
                images.append(value)
        elif name in ("images", "image"):
            raise _no_path(where) if value else _empty(name, where)
        elif name in inputs and inputs[name].many:
            record.setdefault(name, []).append(_of_form(value, inputs[name], where))
        elif name in record:
            raise DataError(f"the field {name!r} occurs twice", where=where, code="serve.fields")
        else:
            record[name] = _of_form(value, inputs[name], where) if name in inputs else value
    return {**record, "images": images}


def _check_fields(record: Mapping[str, Any], task: Task, inputs: Mapping[str, Input], where: str) -> None:
    known = (*COMMON, *inputs)
    unknown = [name for name in record if name not in known]
    if not unknown:
        return
    near = near_misses(unknown[0], known, n=1)
    if near:
        raise DataError(
            f"there is no field {unknown[0][:LONGEST_NAME]!r}",
            where=where,
            hint=f"did you mean {near[0]!r}?",
            code="serve.fields",
        )
    task.check_names(dict.fromkeys(unknown), where)


def _text(text: Any, limits: Settings, where: str) -> str | list[str]:
    if text is None:
        raise DataError("`text` is missing", where=where, hint='{"text": "..."}', code="input.text")
    if not (isinstance(text, str) or (isinstance(text, list) and all(isinstance(t, str) for t in text))):
        raise DataError(
            f"`text` must be a string or a list of tokens, not {_kind(text)}", where=where, code="input.text"
        )
    length = len(text) if isinstance(text, str) else sum(len(token) + 1 for token in text)
    if length > limits.max_characters:
        raise DataError(
            f"`text` has {length:,} characters, and this server takes {limits.max_characters:,}",
            where=where,
            hint="split it",
            code="serve.text-too-long",
        )
    return text


def _images(record: Mapping[str, Any], limits: Settings, where: str) -> tuple[Given, ...]:
    images = record.get("images")
    if images is None:
        return ()
    if not isinstance(images, list):
        raise DataError(
            f"`images` must be a list, not {_kind(images)}",
            where=where,
            hint='"images": ["<base64 of the file>"]',
            code="input.images",
        )
    images = [image for image in images if image is not None]
    if len(images) > limits.max_images:
        raise DataError(
            f"`images` has {len(images):,} images, and this server takes {limits.max_images} with a text",
            where=where,
            hint="send fewer",
            code="serve.too-many-images",
        )
    return tuple(_image(image, number, where) for number, image in enumerate(images))


def _image(image: Any, number: int, where: str) -> Given:
    name = f"image {number}"
    if isinstance(image, Given):
        if not image.content:
            raise _empty(image.name, where)
        return Given(plain_name(image.name) or name, image.content)
    if isinstance(image, dict):
        if image.keys() - {"name", "data"} or not isinstance(image.get("name", ""), str):
            raise DataError(
                f'images[{number}] must be base64, or {{"name": ..., "data": base64}}',
                where=where,
                code="input.images",
            )
        name, image = plain_name(image.get("name", "")) or name, image.get("data")
    if not isinstance(image, str):
        raise DataError(
            f"images[{number}] must be the base64 of an image file, not {_kind(image)}",
            where=where,
            code="input.images",
        )
    head = _DATA_URL.match(image[:LONGEST_NAME])
    try:
        content = base64.b64decode(image[head.end() :] if head else image, validate=True)
    except (binascii.Error, ValueError):
        raise _no_path(f"{where}: images[{number}]") from None
    if not content:
        raise _empty(f"images[{number}]", where)
    return Given(name, content)


def _value(value: Any, wanted: Input, limits: Settings, where: str) -> Any:
    """An input's value, checked by its kind."""
    if wanted.many:
        if not isinstance(value, list):
            raise _wrong(wanted, "a list", value, where)
        return [_one(one, wanted, limits, where) for one in value]
    return _one(value, wanted, limits, where)


def _one(value: Any, wanted: Input, limits: Settings, where: str) -> Any:
    match wanted.kind:
        case "json":
            return value
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _wrong(wanted, "a number", value, where)
            return value
        case "words" if isinstance(value, list):
            whole = all(isinstance(bound, int) and not isinstance(bound, bool) for bound in value)
            if not (len(value) == 2 and whole and 0 <= value[0] < value[1]):
                raise _wrong(wanted, "words, or two token bounds [start, end)", value, where)
            return (value[0], value[1])
    if not isinstance(value, str):
        raise _wrong(wanted, "a string", value, where)
    if len(value) > limits.max_characters:
        raise DataError(
            f"`{wanted.name}` has {len(value):,} characters, and this server takes {limits.max_characters:,}",
            where=where,
            code="serve.text-too-long",
        )
    return value


def _of_form(value: str, wanted: Input, where: str) -> Any:
    """The value of a form's text field: for an input of words, also token bounds such as "[2, 4]"."""
    if wanted.kind == "words" and (bounds := _BOUNDS.fullmatch(value)):
        return [int(bounds[1]), int(bounds[2])]
    if wanted.kind not in ("number", "json"):
        return value
    try:
        return float(value) if wanted.kind == "number" else json.loads(value)
    except (ValueError, RecursionError):
        raise _wrong(wanted, "JSON" if wanted.kind == "json" else "a number", value, where) from None


def _wrong(wanted: Input, kind: str, value: Any, where: str) -> DataError:
    return DataError(
        f"`{wanted.name}` must be {kind}, not {_kind(value)}",
        where=where,
        hint=wanted.help,
        code="serve.fields",
    )


def _no_path(where: str) -> DataError:
    return DataError(
        "an image is uploaded as base64 or as a file of a form; paths and addresses are not opened",
        where=where,
        hint='{"images": ["<base64 of the file>"]}, or curl -F images=@photo.jpg',
        code="serve.no-upload",
    )


def _empty(name: str, where: str) -> DataError:
    return DataError(f"the image {name!r} is empty", where=where, code="image.empty")


def plain_name(name: str) -> str:
    """A file's name from elsewhere, without folders and control characters."""
    return CONTROLS.sub("", re.split(r"[\\/]", name)[-1]).strip()[:LONGEST_NAME]


def _kind(value: Any) -> str:
    """What a JSON value is, for a message."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), "a number")
