"""A JSON value checked against the part of JSON schema that mmkit writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
KNOWN = {
    *("$schema", "title", "description", "type", "properties", "required", "additionalProperties"),
    *("items", "prefixItems", "minItems", "anyOf", "enum"),
}


def violations(value: Any, schema: dict[str, Any], at: str = "answer") -> Iterator[str]:
    """What of `value` the schema does not allow."""
    assert schema.keys() <= KNOWN, f"this test knows no {sorted(schema.keys() - KNOWN)}"
    if "anyOf" in schema:
        if all(list(violations(value, option, at)) for option in schema["anyOf"]):
            yield f"{at}: none of the allowed forms"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is not in {schema['enum']}"
    kind = schema.get("type")
    if kind is not None and (
        not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        yield f"{at}: {value!r} is no {kind}"
        return
    if kind == "object":
        known = schema.get("properties", {})
        yield from (f"{at}: no {key!r}" for key in schema.get("required", ()) if key not in value)
        others = schema.get("additionalProperties", {})
        for key, inner in value.items():
            if key in known:
                yield from violations(inner, known[key], f"{at}.{key}")
            elif others is False:
                yield f"{at}: {key!r} is not known"
            else:
                yield from violations(inner, others, f"{at}.{key}")
    if kind == "array":
        first = schema.get("prefixItems", [])
        if len(value) < schema.get("minItems", 0):
            yield f"{at}: fewer than {schema['minItems']} items"
        for i, inner in enumerate(value):
            rule = first[i] if i < len(first) else schema.get("items", {})
            if rule is False:
                yield f"{at}[{i}]: one item too many"
            else:
                yield from violations(inner, rule, f"{at}[{i}]")
