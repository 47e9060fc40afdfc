"""JSON schemas (2020-12) of dataclasses, made from the hints of their fields."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]

UNTOLD = "mmkit.untold"
"""In the metadata of a field: it is for notebooks alone, and not in the JSON."""

_SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    Any: {},
}


def told_fields(x: Any) -> tuple[Field[Any], ...]:
    """The fields of a dataclass, or of one of its objects, that are in its JSON."""
    return _told_fields(x if isinstance(x, type) else type(x))


@cache  # asked for every part of every answer
def _told_fields(cls: type) -> tuple[Field[Any], ...]:
    return tuple(f for f in fields(cls) if not f.metadata.get(UNTOLD))


def schema_of_fields(cls: type) -> Schema:
    """The schema of a dataclass; fields without a default are required. `TypeError` for a hint without a type."""
    hints = get_type_hints(cls)
    known = told_fields(cls)
    about = (cls.__doc__ or "").strip().splitlines()
    return {
        "type": "object",
        **({"description": about[0]} if about else {}),
        "properties": {f.name: _schema(hints[f.name], f"{cls.__name__}.{f.name}") for f in known},
        "required": [f.name for f in known if f.default is MISSING and f.default_factory is MISSING],
        "additionalProperties": False,
    }


def _schema(hint: Any, where: str) -> Schema:
    """The JSON schema of a type hint."""
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    if isinstance(hint, type) and is_dataclass(hint) and hasattr(hint, "schema"):
        return dict(hint.schema())
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(h, where) for h in inner]}
    if origin is tuple and inner[-1:] != (...,):
        items = [_schema(h, where) for h in inner]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": _schema(inner[0], where)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(inner[1], where)}
    raise TypeError(f"{where}: JSON has no type for {hint}")
