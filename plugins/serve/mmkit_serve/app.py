"""The application: its routes, and errors as JSON. `Guard` stands around it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from mmkit.errors import DataError, MMKitError, escaped, near_misses
from mmkit_serve import page, schemas
from mmkit_serve.answering import HERE, Answering
from mmkit_serve.errors import refusal
from mmkit_serve.guard import Guard
from mmkit_serve.metrics import TYPE, Metrics
from mmkit_serve.runs import ServedRun, Told
from mmkit_serve.settings import Settings
from mmkit_serve.uploads import Uploads, thumbnail
from mmkit_serve.worker import Worker

ABOUT = "Entities, relations and links from a sentence and its images."


def make_app(runs: Mapping[str, ServedRun], settings: Settings) -> ASGIApp:
    """The ASGI application for loaded runs. It starts the models' thread, and ends it when it shuts down."""
    worker = Worker(settings.queue, settings.batch_wait, settings.batch_size, patience=settings.timeout)
    metrics = Metrics(runs.values(), lambda: worker.waiting)
    worker.observer = metrics
    uploads = Uploads(settings.max_pixels)
    answering = Answering(settings, worker, uploads)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        try:
            yield
        finally:
            worker.stop()
            uploads.close()

    app = FastAPI(
        title="mmkit",
        version=version("mmkit-serve"),
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        exception_handlers=_HANDLERS,
    )
    _add_common(app, runs, settings, worker, metrics)
    for run in runs.values():
        _add_run(app, run, answering)
    page.add(app)
    if settings.key:
        _describe_key(app)
    return Guard(app, settings, metrics, frozenset(runs), lambda: worker.full)


def _add_common(
    app: FastAPI, runs: Mapping[str, ServedRun], settings: Settings, worker: Worker, metrics: Metrics
) -> None:
    described = [run.described() for run in runs.values()]
    limits = {
        "body_bytes": settings.max_body,
        "batch_bytes": settings.max_batch_body,
        "pixels": settings.max_pixels,
        "images": settings.max_images,
        "texts": settings.max_texts,
        "characters": settings.max_characters,
        "seconds": settings.timeout,
    }

    @app.get("/healthz", tags=["server"], summary="Whether the server can answer")
    async def healthz() -> JSONResponse:
        state = "ok" if worker.alive else "stopping"
        return JSONResponse({"status": state, "waiting": worker.waiting}, 200 if worker.alive else 503)

    @app.get("/metrics", tags=["server"], summary="Counts and times, for Prometheus")
    async def told_metrics() -> Response:
        return Response(metrics.text(), media_type=TYPE)

    @app.get("/v1/runs", tags=["server"], summary="The runs: tasks, inputs, labels, versions, scores")
    async def told_runs() -> JSONResponse:
        return JSONResponse({"runs": described, "limits": limits})


def _add_run(app: FastAPI, run: ServedRun, answering: Answering) -> None:
    """The routes of a run."""
    base, task = f"/v1/runs/{run.name}", run.task
    answer = schemas.answer(task)
    html = {"type": "string", "description": "the answer as HTML, with ?html=true"}

    def envelope(**found: Any) -> JSONResponse:
        return JSONResponse({"run": run.name, "version": run.version, **found})

    @app.get(base, summary="What the run is", tags=[run.name], operation_id=f"{run.name}-run")
    async def described() -> JSONResponse:
        return JSONResponse(run.described())

    @app.post(
        f"{base}/predict",
        summary="The answer for one text and its images",
        openapi_extra=schemas.one(task),
        responses=schemas.responses(schemas.envelope("answer", answer, html=html)),
        tags=[run.name],
        operation_id=f"{run.name}-predict",
    )
    async def predict(request: Request, html: bool = Query(False)) -> JSONResponse:
        told = await answering.one(request, run)
        return envelope(**_found(told, html))

    @app.post(
        f"{base}/predict-many",
        summary="The answers for several texts",
        openapi_extra=schemas.many(task),
        responses=schemas.responses(schemas.envelope("answers", {"type": "array", "items": answer})),
        tags=[run.name],
        operation_id=f"{run.name}-predict-many",
    )
    async def predict_many(request: Request) -> JSONResponse:
        told = await answering.many(request, run)
        return envelope(answers=[one.answer.to_dict() for one in told])

    @app.post(
        f"{base}/batch",
        summary="An answer, or an error, for each line of a file",
        openapi_extra=schemas.batch(task),
        responses=schemas.responses(answer, "application/jsonl"),
        tags=[run.name],
        operation_id=f"{run.name}-batch",
    )
    async def batch(request: Request) -> StreamingResponse:
        file = await answering.spooled(request)
        lines = (_line(answer) async for answer in answering.lines(request, run, file))
        headers = {"X-Run-Version": run.version}
        return StreamingResponse(lines, media_type="application/jsonl", headers=headers)

    if run.links:
        _add_links(app, run, answering, base, envelope)


def _add_links(app: FastAPI, run: ServedRun, answering: Answering, base: str, envelope: Any) -> None:
    """The routes of a run that links."""
    links = schemas.answer(run.task)["properties"]["links"]

    @app.post(
        f"{base}/link",
        summary="The entities that a mention refers to, best first",
        openapi_extra=schemas.link(run.task),
        responses=schemas.responses(schemas.envelope("links", links)),
        tags=[run.name],
        operation_id=f"{run.name}-link",
    )
    async def link(request: Request) -> JSONResponse:
        told, top = await answering.linked(request, run, schemas.BEST)
        return envelope(links=told.answer.to_dict()["links"][:top])  # type: ignore[no-any-return]

    @app.get(
        f"{base}/entity-image",
        summary="An image of an entity of the knowledge base, as a small JPEG; 204 if it has none",
        tags=[run.name],
        operation_id=f"{run.name}-entity-image",
    )
    async def entity_image(id: str = Query(max_length=1000)) -> Response:
        entity = await answering.called(run, partial(run.entity, id))
        if entity is None:
            raise DataError("there is no such entity", where=id, code="serve.no-such-entity")
        image = run.picture(entity)
        if image is None:
            return Response(status_code=204)
        try:
            content = await answering.uploads.in_thread(partial(thumbnail, image))
        except DataError:
            raise DataError(
                "the entity's image cannot be read", where=id, code="serve.no-such-entity"
            ) from None
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


def _describe_key(app: FastAPI) -> None:
    """Let the description say how the key is sent, so that a client made from it asks for the key."""
    described = app.openapi()
    described.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"key": []}]


def _found(told: Told, html: bool) -> dict[str, Any]:
    return {"answer": told.answer.to_dict(), **({"html": told.html} if html else {})}


def _line(answer: Mapping[str, Any]) -> str:
    return escaped(json.dumps(answer, ensure_ascii=False)) + "\n"


def _told(request: Request, error: BaseException, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as JSON."""
    found = refusal(error)
    request.state.facts["code"] = found.body["error"]["code"]
    return JSONResponse(found.body, found.status, {**found.headers, **(headers or {})})


async def _own(request: Request, error: Exception) -> JSONResponse:
    return _told(request, error)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        wrong = DataError(f"this path takes {allowed}", where=request.method, code="serve.method")
        return _told(request, wrong, error.headers)
    paths = [route.path for route in request.app.routes if hasattr(route, "path")]
    near = near_misses(request.url.path[:200], paths, n=1)
    hint = f"did you mean {near[0]}?" if near else "/docs lists the paths, /v1/runs the runs"
    return _told(request, DataError("there is no such path", hint=hint, code="serve.no-such-path"))


async def _query(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return _told(request, DataError(str(first["msg"]), where=f"{HERE}: {place}", code="serve.query"))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


_HANDLERS: dict[Any, Any] = {
    MMKitError: _own,
    HTTPException: _http,
    RequestValidationError: _query,
    ClientDisconnect: _gone,
    Exception: _own,
}
"""What is raised → how it is answered."""
