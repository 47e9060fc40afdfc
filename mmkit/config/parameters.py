"""What a part's constructor takes: names, type hints and defaults."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

MISSING: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One constructor argument; `hint` is `Any` if there is no hint or it cannot be resolved."""

    name: str
    hint: Any = Any
    default: Any = MISSING

    @property
    def required(self) -> bool:
        return self.default is MISSING


def parameters(part: Callable[..., Any]) -> dict[str, Parameter]:
    """The arguments a class (or function) can be given by name, in order."""
    if not _has_own_constructor(part):
        return {}
    function = part.__init__ if isinstance(part, type) else part  # type: ignore[misc]
    hints = _hints(function)
    made = _made_defaults(part)
    return {
        p.name: Parameter(p.name, hints.get(p.name, Any), made.get(p.name, p.default))
        for p in inspect.signature(part).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _made_defaults(part: Callable[..., Any]) -> dict[str, Any]:
    """The defaults that a dataclass's default factories give, because its signature does not show them."""
    if not dataclasses.is_dataclass(part):
        return {}
    factories = {f.name: f.default_factory for f in dataclasses.fields(part)}
    return {name: make() for name, make in factories.items() if make is not dataclasses.MISSING}


def takes_any(part: Callable[..., Any]) -> bool:
    """Whether a constructor takes `**kwargs`, so that no name can be called unknown."""
    if not _has_own_constructor(part):
        return False
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(part).parameters.values())


def _has_own_constructor(part: Callable[..., Any]) -> bool:
    """False for a class that inherits `object`'s or `torch.nn.Module`'s constructor, and so takes nothing."""
    if not isinstance(part, type):
        return True
    constructor = part.__init__  # type: ignore[misc]
    return constructor is not object.__init__ and constructor.__module__ != "torch.nn.modules.module"


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Resolved type hints; a hint that names something imported only for type checking becomes `Any`."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {name: _hint(function, annotation) for name, annotation in function.__annotations__.items()}


def _hint(function: Callable[..., Any], annotation: Any) -> Any:
    alone = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(alone, globalns=getattr(function, "__globals__", {}))["it"]
    except (NameError, TypeError, AttributeError):
        return Any


def branches(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or a list of the hint itself. `Annotated` is removed."""
    if get_origin(hint) is Annotated:
        return branches(get_args(hint)[0])
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def type_name(hint: Any) -> str:
    """A hint as people write it: `int`, `list[str]`, `"linear" | "cosine"`, `float | None`."""
    parts = branches(hint)
    if len(parts) > 1:
        return " | ".join(type_name(part) for part in parts)
    hint = parts[0]
    if hint is Any:
        return "any"
    if hint in (None, type(None)):
        return "None"
    if hint is Ellipsis:
        return "..."
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(f'"{value}"' if isinstance(value, str) else repr(value) for value in arguments)
    if origin is not None:
        return f"{origin.__name__}[{', '.join(type_name(argument) for argument in arguments)}]"
    return getattr(hint, "__name__", str(hint))
