"""The page and the documentation of the API: files of this package, which ask nobody else for anything."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import Response

OWN = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "docs.js": "text/javascript",
}
SWAGGER = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}
"""Files of Swagger, which the package fastapi-offline contains."""

CACHE = {"Cache-Control": "no-cache"}


def add(app: FastAPI) -> None:
    """The routes of the page, of `/docs`, and of their files."""
    here = files(__package__)
    static = {name: (here.joinpath(name).read_bytes(), kind) for name, kind in OWN.items()}
    static |= {name: ((_swagger() / name).read_bytes(), kind) for name, kind in SWAGGER.items()}
    index, docs = (here.joinpath(name).read_bytes() for name in ("index.html", "docs.html"))

    @app.get("/", include_in_schema=False)
    async def told_index() -> Response:
        return Response(index, media_type="text/html", headers=CACHE)

    @app.get("/docs", include_in_schema=False)
    async def told_docs() -> Response:
        return Response(docs, media_type="text/html", headers=CACHE)

    @app.get("/static/{name}", include_in_schema=False)
    async def told_file(name: str) -> Response:
        if name not in static:
            raise HTTPException(404)
        content, kind = static[name]
        return Response(content, media_type=kind, headers=CACHE)


def _swagger() -> Path:
    """Where Swagger's files are. The package itself is not imported: it changes FastAPI."""
    found = find_spec("fastapi_offline")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "static"
