"""Find the class or function that a `"module:attribute"` target names in its source, without importing it."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
from dataclasses import dataclass
from pathlib import Path

MAX_REEXPORTS = 5
"""How many `from .x import Name` are followed to find a target's docstring."""


class SourceError(Exception):
    """A target whose module or attribute cannot be found; the message says which."""


@dataclass(frozen=True)
class Source:
    """Where a target is defined. `line` is 0 and `summary` empty if there is no Python source."""

    file: Path
    line: int = 0
    summary: str = ""


def find(target: str) -> Source:
    """Where `target` is defined, and its docstring's first line. Imports nothing.

    Raises `SourceError` if the package, the module's file or the attribute is missing, or the source does not
    parse.
    """
    module, _, attribute = target.partition(":")
    return _find(module.strip(), attribute.split("[")[0].strip(), MAX_REEXPORTS)


def _find(module: str, attribute: str, hops: int) -> Source:
    file = module_file(module)
    if file.suffix != ".py":
        return Source(file)
    try:
        tree: ast.AST = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        line = getattr(error, "lineno", None)
        raise SourceError(f"{file}{f':{line}' if line else ''}: syntax error: {error}") from error
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}") from error
    for name in attribute.split(".") if attribute else ():
        found = _binding(tree, name)
        if found is None:
            if isinstance(tree, ast.Module) and _is_dynamic(tree):
                return Source(file)
            raise SourceError(f"{file} has no {attribute!r}")
        if isinstance(found, ast.ImportFrom) and hops and name == attribute:
            original = next(a.name for a in found.names if (a.asname or a.name) == name)
            return _find(_absolute(found, module, file), original, hops - 1)
        tree = found
    return Source(file, getattr(tree, "lineno", 1), _summary(tree))


def module_file(module: str) -> Path:
    """The file of a module. Only its top-level package is looked up through the import system's finders.

    Raises `SourceError`.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise SourceError(f"cannot look up {top!r}: {error}") from error
    if spec is None:
        raise SourceError(f"there is no package {top!r}")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not rest:
        if spec.origin is None:
            raise SourceError(f"package {top!r} has no __init__.py")
        return Path(spec.origin)
    for depth, name in enumerate(rest):
        last = depth == len(rest) - 1
        if last and (file := _first_file(folders, name)):
            return file
        inner = [folder / name for folder in folders if (folder / name).is_dir()]
        if not inner or last:
            raise SourceError(f"there is no module {module!r} in {', '.join(map(str, folders)) or top}")
        folders = inner
    raise AssertionError("unreachable")


def _first_file(folders: list[Path], name: str) -> Path | None:
    suffixes = [".py", *importlib.machinery.EXTENSION_SUFFIXES, ".pyc"]
    candidates = [folder / name / "__init__.py" for folder in folders]
    candidates += [folder / f"{name}{suffix}" for folder in folders for suffix in suffixes]
    return next((file for file in candidates if file.is_file()), None)


def _binding(tree: ast.AST, name: str) -> ast.AST | None:
    """The last statement of a module or class body that binds `name`, looking into `if` and `try` too."""
    found: ast.AST | None = None
    for node in _statements(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                found = node
            case ast.Import() | ast.ImportFrom() if any(
                (a.asname or a.name.split(".")[0]) == name for a in node.names
            ):
                found = node
            case ast.Assign() if any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                found = node
            case ast.AnnAssign(target=ast.Name(id=bound)) if bound == name:
                found = node
    return found


def _statements(tree: ast.AST) -> list[ast.stmt]:
    flat: list[ast.stmt] = []
    for node in getattr(tree, "body", []):
        flat.append(node)
        if isinstance(node, ast.If | ast.Try | ast.With):
            flat += _statements(node)
            for handler in getattr(node, "handlers", []):
                flat += _statements(handler)
            for branch in ("orelse", "finalbody"):
                flat += _statements(ast.Module(body=getattr(node, branch, []), type_ignores=[]))
    return flat


def _is_dynamic(tree: ast.Module) -> bool:
    """Whether there may be names that the source does not show: `import *`, or a module's `__getattr__`."""
    starred = any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in _statements(tree))
    return starred or _binding(tree, "__getattr__") is not None


def _absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, node.module] if node.module else package)


def _summary(tree: ast.AST) -> str:
    documented = isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    text = ast.get_docstring(tree) if documented else None  # type: ignore[arg-type]
    return text.strip().splitlines()[0].strip() if text and text.strip() else ""
