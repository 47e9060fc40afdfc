"""The page: one HTML file that holds its style, its script and its data, and asks nobody for anything.

Data come from strangers. They stand in the page as JSON in which no tag can begin; the script puts them in as text
only; and a content security policy allows this one script and this one style, by their hashes, and no connection.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from mmkit.tasks.notebook import answer_style

SCRIPTS = (
    "dom.js",
    "state.js",
    "charts.js",
    "sentence.js",
    "list.js",
    "shown.js",
    "example.js",
    "numbers.js",
    "main.js",
)
"""The files of the page's script, in order."""
FOLDER_SCRIPTS = ("dom.js", "charts.js", "folder.js")
"""Those of a page about a folder that is no run."""


def page(document: Mapping[str, Any], title: str, scripts: Sequence[str] = SCRIPTS) -> str:
    """The whole page."""
    script = "\n".join(['"use strict";', "(() => {", *map(_file, scripts), "})();"])
    style = f"{answer_style()}\n{_file('report.css')}"
    parts = {
        "csp": html.escape(policy(script, style)),
        "title": html.escape(title),
        "style": style,
        "data": as_json(document),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("report.html"))


def policy(script: str, style: str) -> str:
    """The content security policy: images of the page or beside it, this script, this style, and nothing else."""
    return (
        f"default-src 'none'; img-src data: 'self' file:; script-src {_hashed(script)}; style-src {_hashed(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def as_json(document: Mapping[str, Any]) -> str:
    """JSON that is safe inside a script element: it has no `<`, `>` or `&`, and no line separators of JavaScript."""
    text = json.dumps(_finite(document), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _finite(value: Any) -> Any:
    """The value with None for numbers that JSON does not have, which a damaged run may record."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _hashed(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return (files("mmkit_report") / "page_files" / name).read_text(encoding="utf-8")
