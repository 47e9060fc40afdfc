"""From a request's body to answers: read, checked, queued, awaited. One object for each application."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import IO, Any, TypeVar, cast

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from mmkit.errors import DataError, MMKitError
from mmkit_serve.errors import refusal
from mmkit_serve.requests import Given, Question, form_record, json_of, question_of
from mmkit_serve.runs import Ask, ServedRun, Told
from mmkit_serve.settings import Settings
from mmkit_serve.uploads import Uploads
from mmkit_serve.worker import Worker, timed_out

T = TypeVar("T")

HERE = "the request"
LARGE = 65_536
"""Bodies of more bytes are parsed in a thread, so that other requests go on."""

PIECE = 64
"""Lines of a batch upload that are read, asked and answered together."""


class Answering:
    """Answers requests about runs."""

    def __init__(self, settings: Settings, worker: Worker, uploads: Uploads) -> None:
        self.settings, self.worker, self.uploads = settings, worker, uploads

    async def one(self, request: Request, run: ServedRun) -> Told:
        """The answer to a body that is a record or a form."""
        record = await self._record(request, run)
        [told] = await self.asked(request, run, [await self._question(record, run, HERE, request)])
        return told

    async def linked(self, request: Request, run: ServedRun, best: int) -> tuple[Told, int]:
        """As `one`, and the field `top` of the record: how many links are wanted (`best` without it)."""
        record = await self._record(request, run)
        top = record.pop("top", best) if isinstance(record, dict) else best
        if isinstance(top, str) and top.isdecimal() and len(top) < 10:  # of a form
            top = int(top)
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise DataError("`top` must be a whole number of at least 1", where=HERE, code="serve.fields")
        question = await self._question(record, run, HERE, request)
        [told] = await self.asked(request, run, [question])
        return told, top

    async def called(self, run: ServedRun, function: Callable[[], T]) -> T:
        """The result of a call in the models' thread."""
        future = asyncio.wrap_future(self.worker.call(run, function, self.settings.timeout))
        try:
            async with asyncio.timeout(self.settings.timeout):
                return cast(T, await future)
        except TimeoutError:
            raise timed_out() from None

    async def many(self, request: Request, run: ServedRun) -> list[Told]:
        """The answers to a body `{"requests": [...]}`; all of them, or the error of the first that fails."""
        body = await self._json(request)
        records = body.get("requests") if isinstance(body, dict) and body.keys() == {"requests"} else None
        if not isinstance(records, list) or not records:
            raise DataError(
                "the body is an object with one field, `requests`, a list of requests",
                where=HERE,
                hint='{"requests": [{"text": "..."}, {"text": "..."}]}',
                code="serve.fields",
            )
        if len(records) > self.settings.max_texts:
            raise DataError(
                f"`requests` has {len(records):,} requests, and this server takes {self.settings.max_texts:,} at once",
                where=HERE,
                hint="send fewer, or send them as a batch upload (jsonlines)",
                code="serve.too-many-texts",
            )
        read = partial(self._questions, records, run)
        large = request.state.body.size > LARGE
        return await self.asked(request, run, await self.uploads.in_thread(read) if large else read())

    async def _question(self, record: Any, run: ServedRun, where: str, request: Request) -> Question:
        read = partial(question_of, record, run.task, self.settings, where)
        return await self.uploads.in_thread(read) if request.state.body.size > LARGE else read()

    def _questions(self, records: Sequence[Any], run: ServedRun) -> list[Question]:
        found = []
        for number, record in enumerate(records):
            where = f"requests[{number}]"
            if isinstance(record, dict):
                record = {"id": f"input-{number}", **record}
            found.append(question_of(record, run.task, self.settings, where))
        return found

    async def asked(self, request: Request, run: ServedRun, questions: Sequence[Question]) -> list[Told]:
        """The answers to questions. Raises what the first that fails raises, and `ClientDisconnect`."""
        facts: dict[str, Any] = request.state.facts
        facts |= {"texts": len(questions), "images": sum(len(q.images) for q in questions)}
        if self.settings.log_texts:
            facts["asked"] = [question.text for question in questions]
        asks: list[Ask] = []
        try:
            async with asyncio.timeout(self.settings.timeout):
                for question in questions:
                    asks.append(Ask(question, await self.uploads.keep(question.images, question.where)))
                futures = self._submitted(run, asks, self.settings.timeout)
                asks = []
                return await self._first(request, futures)
        except TimeoutError:
            raise timed_out() from None
        finally:
            self.uploads.drop(upload for ask in asks for upload in ask.uploads)

    def _submitted(self, run: ServedRun, asks: Sequence[Ask], seconds: float) -> list[asyncio.Future[Told]]:
        """Answers to come. The worker may still read the images of a request that was given up, so that they are
        removed when it is done with it."""
        found = []
        for ask, future in zip(asks, self.worker.submit(run, asks, seconds), strict=True):
            future.add_done_callback(lambda _, uploads=ask.uploads: self.uploads.drop(uploads))  # type: ignore[misc]
            found.append(asyncio.wrap_future(future))
        return found

    async def _first(self, request: Request, futures: Sequence[asyncio.Future[Told]]) -> list[Told]:
        """All answers. If the client goes away meanwhile, what is not begun is given up."""
        together = asyncio.gather(*futures)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            either: set[asyncio.Future[Any]] = {together, gone}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not together.done():
                raise ClientDisconnect
            return list(await together)
        finally:
            gone.cancel()
            for future in futures:
                future.cancel()
            await asyncio.gather(*futures, return_exceptions=True)

    # batch uploads

    async def spooled(self, request: Request) -> IO[bytes]:
        """The body of a batch upload, in a file (of the memory, if it is small)."""
        _check_type(
            request, "application/jsonl", "application/x-ndjson", "application/x-jsonlines", "text/plain"
        )
        file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - whoever gets it closes it
            self.settings.max_body, dir=str(self.uploads.folder)
        )
        try:
            async for part in request.stream():
                if len(part) > LARGE or file.tell() + len(part) > self.settings.max_body:
                    await self.uploads.in_thread(partial(file.write, part))
                else:
                    file.write(part)
                request.state.body.release()
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    async def lines(self, request: Request, run: ServedRun, file: IO[bytes]) -> AsyncIterator[dict[str, Any]]:
        """An answer, or an error, for each line of a batch upload, in order."""
        facts: dict[str, Any] = request.state.facts
        facts |= {"texts": 0, "images": 0, "errors": 0}
        try:
            pieces = self._pieces(run, file)
            while piece := await self.uploads.in_thread(partial(next, pieces, None)):
                for answer in await self._piece(run, piece, facts):
                    facts["errors"] += "error" in answer
                    yield answer
        finally:
            file.close()

    def _pieces(self, run: ServedRun, file: IO[bytes]) -> Iterator[list[Question | MMKitError]]:
        """The lines of a file, some at a time, and less where they have large images."""
        piece: list[Question | MMKitError] = []
        size = number = 0
        while line := file.readline(self.settings.max_body + 1):
            number += 1
            if not line.strip():
                continue
            piece.append(self._line(run, line, number))
            size += len(line)
            if len(piece) == PIECE or size > self.settings.max_body:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece

    def _line(self, run: ServedRun, line: bytes, number: int) -> Question | MMKitError:
        where = f"line {number}"
        try:
            if len(line) > self.settings.max_body:
                raise DataError(
                    "the line is longer than a body may be", where=where, code="serve.body-too-large"
                )
            record = json_of(line, where)
            if isinstance(record, dict):
                record = {"id": f"input-{number - 1}", **record}
            return question_of(record, run.task, self.settings, where)
        except MMKitError as error:
            return error

    async def _piece(
        self, run: ServedRun, piece: Sequence[Question | MMKitError], facts: dict[str, Any]
    ) -> list[dict[str, Any]]:
        asks: dict[int, Ask] = {}
        told: list[Any] = list(piece)
        try:
            for i, question in enumerate(piece):
                if isinstance(question, Question):
                    facts["texts"] += 1
                    facts["images"] += len(question.images)
                    try:
                        asks[i] = Ask(question, await self.uploads.keep(question.images, question.where))
                    except MMKitError as error:
                        told[i] = error
            for i, answer in zip(asks, await self._patiently(run, list(asks.values())), strict=True):
                told[i] = answer
        finally:
            self.uploads.drop(upload for ask in asks.values() for upload in ask.uploads)
        return [one.answer.to_dict() if isinstance(one, Told) else refusal(one).body for one in told]

    async def _patiently(self, run: ServedRun, asks: Sequence[Ask]) -> list[Any]:
        """The worker's answers or errors. A batch upload waits for room in the queue, a little of it at a time."""
        found: list[Any] = []
        step = max(1, min(run.batch_size, self.worker.capacity // 4))
        for at in range(0, len(asks), step):
            while True:
                try:
                    futures = self._submitted(run, asks[at : at + step], 10 * self.settings.timeout)
                    break
                except MMKitError as error:
                    if error.code != "serve.queue-full":
                        raise
                    await asyncio.sleep(0.05)
            found += await asyncio.gather(*futures, return_exceptions=True)
        return found

    # bodies

    async def _record(self, request: Request, run: ServedRun) -> Any:
        kind = _check_type(request, "application/json", "multipart/form-data")
        if kind == "application/json":
            return await self._json(request)
        many = self.settings.max_images + 1
        try:
            async with request.form(
                max_files=many, max_fields=1000, max_part_size=self.settings.max_body
            ) as form:
                fields = [
                    (
                        name,
                        Given(value.filename or "", await value.read())
                        if isinstance(value, UploadFile)
                        else value,
                    )
                    for name, value in form.multi_items()
                ]
        except (MultiPartException, HTTPException) as error:
            what = error.message if isinstance(error, MultiPartException) else error.detail
            raise DataError(f"the form cannot be read: {what}", where=HERE, code="serve.multipart") from None
        return form_record(fields, run.task, HERE)

    async def _json(self, request: Request) -> Any:
        _check_type(request, "application/json")
        body = await request.body()
        read = partial(json_of, body, HERE)
        return await self.uploads.in_thread(read) if len(body) > LARGE else read()


def _check_type(request: Request, *known: str) -> str:
    """The media type of a body. Raises `DataError` for one that is not read here."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in known:
        raise DataError(
            f"the body is {kind or 'of no type'}, which is not read here"[:200],
            where="the header Content-Type",
            hint="use " + " or ".join(known),
            code="serve.content-type",
        )
    return kind


async def _disconnected(request: Request) -> None:
    """Wait until the client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
