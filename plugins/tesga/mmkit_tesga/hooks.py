"""What the plugin adds to mmkit's commands."""

from __future__ import annotations

from mmkit.hooks import hookimpl


@hookimpl
def mmkit_importers() -> dict[str, str]:
    return {"tesga": "mmkit_tesga.convert:TesgaImporter"}
