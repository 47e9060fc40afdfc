"""For the Dockerfile: the folders to install for the plugins that are named, with those that they depend on.

python plugins/serve/image_packages.py hvpnet dim

Packages of this repository are installed from it alone: a package of the same name on an index is another one.
"""

from __future__ import annotations

import difflib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def folders(names: list[str]) -> list[Path]:
    """The core, then the server and the plugins `names` with all that they depend on. Raises `SystemExit`."""
    found = {ROOT: None}
    for name in ("serve", *names):
        found |= dict.fromkeys(needed(name))
    return list(found)


def needed(name: str) -> Iterator[Path]:
    """A plugin's folder, after those of the plugins that it depends on."""
    folder = ROOT / "plugins" / name
    if not (folder / "pyproject.toml").is_file():
        known = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))
        near = difflib.get_close_matches(name, known)
        sys.exit(f"PLUGINS: there is no plugin {name!r}\n  → {', '.join(near or known)}")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project.get("dependencies", ()):
        match = re.match(r"mmkit-([a-z0-9-]+)", requirement)
        if match and match[1] != "core":
            yield from needed(match[1])
    yield folder


if __name__ == "__main__":
    print("\n".join(map(str, folders(sys.argv[1:]))))
