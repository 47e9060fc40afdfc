"""The demo with photographs: its modules, and small Debian packages and Qt resource files as it reads them."""

from __future__ import annotations

import importlib
import io
import struct
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

DEMO = Path(__file__).resolve().parents[2] / "demo"
MODULES = ("debian", "qt_resources", "photographs", "photo_credits", "sentences", "networks", "prepare")


def demo_modules() -> Iterator[SimpleNamespace]:
    """The body of a fixture: the modules of the demo, which import one another as scripts do."""
    sys.path.insert(0, str(DEMO))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(DEMO))


def write_package(file: Path, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> Path:
    """A .deb with these files. Paths are written as they are, also those that lead out of a folder."""
    parts = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", _tar({"./control": b"Package: x\nVersion: 1\n"}, {})),
    ]
    parts.append(("data.tar.gz", _tar(files, links or {})))
    archive = b"!<arch>\n"
    for name, content in parts:
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(archive)
    return file


def _tar(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def resource_file(files: Mapping[str, bytes], compressed: bool = False, version: int = 3) -> bytes:
    """A Qt resource file as rcc writes it."""
    root: dict[str, object] = {}
    for path, content in files.items():
        *folders, name = path.split("/")
        folder = root
        for part in folders:
            folder = folder.setdefault(part, {})  # type: ignore[assignment]
        folder[name] = content
    nodes, data, names = b"", b"", b""
    level: list[tuple[str, object]] = [("", root)]
    known = 1  # nodes that have a place already
    while level:  # the nodes of a folder stand one after the other
        below: list[tuple[str, object]] = []
        for name, node in level:
            place = len(names)
            names += struct.pack(">HI", len(name.encode("utf-16-be")) // 2, 0) + name.encode("utf-16-be")
            if isinstance(node, dict):
                nodes += struct.pack(">IHII", place, 2, len(node), known)
                known += len(node)
                below += node.items()
            else:
                assert isinstance(node, bytes)
                stored = struct.pack(">I", len(node)) + zlib.compress(node) if compressed else node
                nodes += struct.pack(">IHHHI", place, int(compressed), 0, 0, len(data))
                data += struct.pack(">I", len(stored)) + stored
            nodes += b"" if version == 1 else bytes(8)
        level = below
    head = 20
    places = struct.pack(">IIII", version, head, head + len(nodes), head + len(nodes) + len(data))
    return b"qres" + places + nodes + data + names
