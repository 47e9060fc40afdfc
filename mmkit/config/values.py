"""Values of a recipe and type hints: which values fit, what is wrong, and the objects they become."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin

from mmkit.config.parameters import MISSING, Parameter, branches, parameters, type_name
from mmkit.errors import did_you_mean

UNRESOLVED: Any = object()
"""A value whose `${...}` could not be resolved; this is reported once, at its place."""

SEQUENCES = (list, tuple, set, frozenset, Sequence, Collection, Iterable)
MAPPINGS = (dict, Mapping)


@dataclass(frozen=True)
class Problem:
    """A problem at a dotted path, and what to do."""

    path: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}" if self.hint else self.what


@dataclass
class Problems:
    """All problems, so that they can be reported together."""

    found: list[Problem] = field(default_factory=list)

    def add(self, path: str, what: str, hint: str = "") -> None:
        self.found.append(Problem(path, what, hint))


def fit_arguments(
    given: Mapping[str, Any],
    known: Mapping[str, Parameter],
    at: str,
    problems: Problems,
    *,
    free: bool = False,
) -> dict[str, Any]:
    """`given` as plain values, with defaults for missing ones. `free` allows unknown names."""
    fitted = {}
    for name, value in given.items():
        if name in known:
            fitted[name] = _fit_argument(value, known[name], f"{at}.{name}", problems)
        elif free:
            fitted[name] = value
        else:
            problems.add(f"{at}.{name}", "there is no such setting", did_you_mean(name, known))
    for name, parameter in known.items():
        if name in given:
            continue
        if parameter.required:
            problems.add(f"{at}.{name}", "is missing", f"it is a {type_name(parameter.hint)}")
        elif (default := plain(parameter.default)) is not MISSING:
            fitted[name] = default
    return fitted


def _fit_argument(value: Any, parameter: Parameter, at: str, problems: Problems) -> Any:
    default = plain(parameter.default)
    if type(value) is type(default) and value == default:
        return value  # `width: int = None` is a wrong hint, but writing the default must be allowed
    return fit(value, parameter.hint, at, problems)


def fit(value: Any, hint: Any, at: str, problems: Problems) -> Any:
    """`value` as plain JSON that fits `hint` (whole numbers become floats where floats are asked for).

    A value that does not fit is added to `problems` and returned unchanged.
    """
    if value is UNRESOLVED or hint is Any:
        return value
    options = branches(hint)
    if len(options) > 1:
        return _fit_union(value, options, hint, at, problems)
    hint = options[0]
    origin = get_origin(hint) or hint
    if origin in SEQUENCES and isinstance(value, list):
        return _fit_list(value, hint, at, problems)
    if origin in MAPPINGS and isinstance(value, dict):
        return _fit_dict(value, hint, at, problems)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return fit_arguments(value, parameters(hint), at, problems)  # type: ignore[arg-type]
    if origin is float and type(value) is int:
        return float(value)
    if not _matches(value, hint, origin):
        problems.add(at, f"must be {type_name(hint)}, not {shown(value)}", _type_hint(value, hint))
    return value


def _matches(value: Any, hint: Any, origin: Any) -> bool:
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if hint is None or hint is type(None):
        return value is None
    if hint in (bool, int, str):
        return type(value) is hint
    if hint is float:
        return type(value) is float and math.isfinite(value)
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return isinstance(value, str)
    return hint is object


def _type_hint(value: Any, hint: Any) -> str:
    if get_origin(hint) is Literal and isinstance(value, str):
        return did_you_mean(value, [choice for choice in get_args(hint) if isinstance(choice, str)])
    if isinstance(value, str) and any((get_origin(o) or o) in SEQUENCES for o in branches(hint)):
        return f"write {as_list(value)}"
    if hint is str and isinstance(value, int | float):
        return f'''write "{shown(value)}" in quotes (on a command line '"{shown(value)}"')'''
    return ""


def _fit_union(value: Any, options: Sequence[Any], hint: Any, at: str, problems: Problems) -> Any:
    for option in sorted(
        options, key=lambda option: option is not type(value)
    ):  # 3 is an int in `float | int`
        attempt = Problems()
        fitted = fit(value, option, at, attempt)
        if not attempt.found:
            return fitted
        if any(
            problem.path != at for problem in attempt.found
        ):  # the right kind, with something wrong inside
            problems.found += attempt.found
            return value
    problems.add(at, f"must be {type_name(hint)}, not {shown(value)}", _type_hint(value, hint))
    return value


def _fit_list(value: list[Any], hint: Any, at: str, problems: Problems) -> list[Any]:
    items = get_args(hint)
    if get_origin(hint) is tuple and not (len(items) == 2 and items[1] is Ellipsis):
        if len(items) != len(value):
            problems.add(at, f"must have {len(items)} items, not {len(value)}")
            return value
        return [
            fit(v, item, f"{at}[{i}]", problems) for i, (v, item) in enumerate(zip(value, items, strict=True))
        ]
    item = items[0] if items else Any
    return [fit(v, item, f"{at}[{i}]", problems) for i, v in enumerate(value)]


def _fit_dict(value: dict[str, Any], hint: Any, at: str, problems: Problems) -> dict[str, Any]:
    key_hint, value_hint = get_args(hint) or (Any, Any)
    for key in value:
        fit(key, key_hint, f"{at}.{key}", problems)
    return {key: fit(v, value_hint, f"{at}.{key}", problems) for key, v in value.items()}


def construct(value: Any, hint: Any) -> Any:
    """The object that a fitted value describes: dataclasses, tuples, sets, paths from dicts, lists, text."""
    for option in branches(hint):
        attempt = Problems()
        fit(value, option, "", attempt)
        if not attempt.found:
            return _construct(value, option)
    return copy.deepcopy(value)


def _construct(value: Any, hint: Any) -> Any:
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        known = parameters(hint)  # type: ignore[arg-type]
        return hint(**{name: construct(v, known[name].hint) for name, v in value.items()})  # type: ignore[operator]
    if origin in MAPPINGS and isinstance(value, dict):
        item = arguments[1] if arguments else Any
        return {key: construct(v, item) for key, v in value.items()}
    if origin in SEQUENCES and isinstance(value, list):
        make: Callable[..., Any] = origin if origin in (tuple, set, frozenset) else list
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return tuple(construct(v, item) for v, item in zip(value, arguments, strict=True))
        return make(construct(v, arguments[0] if arguments else Any) for v in value)
    if isinstance(hint, type) and issubclass(hint, PurePath) and isinstance(value, str):
        return Path(value)
    return copy.deepcopy(value)


def plain(value: Any) -> Any:
    """A default as JSON, or `MISSING` if it cannot be written in JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        try:
            return plain(sorted(value))
        except TypeError:  # of values without an order
            return MISSING
    if isinstance(value, list | tuple):
        items = [plain(item) for item in value]
        return MISSING if any(item is MISSING for item in items) else items
    if isinstance(value, Mapping):
        pairs = {key: plain(item) for key, item in value.items()}
        texts = all(isinstance(key, str) for key in pairs)
        return pairs if texts and not any(item is MISSING for item in pairs.values()) else MISSING
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return value
    return MISSING


def shown(value: Any) -> str:
    """A value as a recipe would write it, shortened for a message."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return f"{text[:57]}..." if len(text) > 60 else text


def as_list(text: str) -> str:
    """A list as a recipe writes it, of the words that someone wrote with commas between them: `LOC, 'PER'`."""
    words = [word.strip(" \t'\"") for word in text.strip("[]() \t").split(",")]
    return json.dumps([_word(word) for word in words if word], ensure_ascii=False)


def _word(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return text
