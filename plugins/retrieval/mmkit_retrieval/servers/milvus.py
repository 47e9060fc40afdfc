"""The images of a corpus in Milvus, for corpora that are too large for one machine.

A collection has a row for each image and one more, `FACTS`, which is written last. It describes the others; its vector
is the probe of the CLIP model that they were made with.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.access.network import check_network
from mmkit.access.servers import key_goes_to
from mmkit.errors import DataError, PartError
from mmkit_retrieval.pictures.image_index import ImageIndex
from mmkit_retrieval.pictures.vectors import Array, Model
from mmkit_retrieval.retrieved import Retrieved

FORMAT = 1
FACTS = "facts"
"""The id of the row that is not an image; other ids contain a `#`."""
TOKEN = "MILVUS_TOKEN"
"""The environment variable that holds `user:password`, or an API key."""
URI = "MILVUS_URI"
"""The environment variable that names the server that gets what `TOKEN` holds."""
ROWS = 256
"""Pictures that are sent at once."""
TEXT_BYTES = 16_000
"""What is kept of a title, a caption or a lead; Milvus has a limit of 65,535."""
MOST = 16_384
"""Hits of one search; Milvus's own limit."""

SECONDS = 60.0
"""Until a server that does not answer is given up."""

_TEXTS = ("article", "title", "text", "caption", "image")
_MALFORMED = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)
"""What becomes of rows that are none of mmkit's."""


class MilvusImages:
    """A collection that `upload` filled: searched like an `ImageIndex`, with the same `identity` and `model`.

    `address` is a server's (`http://host:19530`) or a file of the embedded milvus-lite. Raises `PartError` without
    pymilvus, or where it may not be contacted, and `DataError` for an address that does not answer or a collection
    that is not there, unfinished, or of a newer format.
    """

    def __init__(self, address: str, collection: str) -> None:
        self.address, self.collection = address, collection
        if _is_file(address) and not Path(address).exists():
            raise DataError(
                "there is no milvus-lite file here",
                where=address,
                hint="upload an index first",
                code="retrieval.no-milvus-lite",
            )
        self._client = _connected(address, SECONDS)
        with _explained(address):
            if not self._client.has_collection(collection):
                names = ", ".join(sorted(self._client.list_collections())) or "none"
                hint = f"upload an index to it; there are: {names}"
                raise DataError(
                    f"there is no collection {collection!r}",
                    where=address,
                    hint=hint,
                    code="retrieval.no-collection",
                )
            self._client.load_collection(collection, timeout=10 * SECONDS)
            found = self._client.get(collection, [FACTS], output_fields=["vector", "text"])
        facts = self._facts(found)
        self.identity: str = facts["identity"]
        self.model = Model(facts["clip"], facts["revision"], facts["vector"])
        self._count: int = facts["pictures"]

    def _facts(self, found: Sequence[Any]) -> dict[str, Any]:
        where = f"{self.address}, collection {self.collection}"
        if not found:
            raise DataError(
                "the upload to Milvus is unfinished",
                where=where,
                hint="upload the index again",
                code="retrieval.index-unfinished",
            )
        try:
            facts = json.loads(found[0]["text"])
            known = facts["format"]
            if known == FORMAT:
                texts: dict[str, str | None] = {name: _text(facts[name]) for name in ("clip", "identity")}
                revision = facts["revision"]  # None for a model that has none
                texts["revision"] = None if revision is None else _text(revision)
                vector = tuple(map(float, found[0]["vector"]))
                return {**texts, "pictures": int(facts["pictures"]), "vector": vector}
        except _MALFORMED as error:
            raise self._foreign() from error
        raise DataError(
            f"the collection has format {known}, and this version reads {FORMAT}",
            where=where,
            hint="update mmkit-retrieval, or upload the index again",
            code="retrieval.index-format",
        )

    def _foreign(self) -> DataError:
        return DataError(
            "the collection was not made by mmkit",
            where=f"{self.address}, collection {self.collection}",
            hint="drop the collection and upload the index again",
            code="retrieval.foreign-collection",
        )

    def __len__(self) -> int:
        """Pictures."""
        return self._count

    def search(self, vectors: Array, top: int) -> list[list[Retrieved]]:
        """The `top` images nearest to each of `vectors [N, D]`, best first; the score is their cosine.

        Raises `DataError` for vectors of another width, and where Milvus fails.
        """
        queries = np.ascontiguousarray(vectors, np.float32)
        if not len(queries):
            return []
        if queries.shape[1] != self.model.width:
            raise DataError(
                f"the collection holds vectors of width {self.model.width}, not {queries.shape[1]}",
                where=self.address,
                hint=f"make queries with {self.model.clip}",
                code="retrieval.query-width",
            )
        check_network(self.address)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
        limit = min(top + 1, MOST)  # the row of facts may be among them
        with _explained(self.address):
            found = self._client.search(
                self.collection,
                data=list(queries),
                anns_field="vector",
                limit=limit,
                output_fields=list(_TEXTS),
                search_params={"metric_type": "IP"},
                timeout=SECONDS,
            )
        try:
            return [[_retrieved(hit) for hit in hits if hit["id"] != FACTS][:top] for hits in found]
        except _MALFORMED as error:
            raise self._foreign() from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def upload(
    index: ImageIndex,
    address: str,
    collection: str,
    index_type: str = "AUTOINDEX",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Make a Milvus collection hold the images of `index` and nothing else; a missing collection is created.

    An upload that was interrupted starts again and ends with the same rows; until its end, `MilvusImages` refuses the
    collection. `index_type` is Milvus's name for how vectors are searched ("FLAT" is exact); it counts for a
    new collection. Raises as `MilvusImages` does, and `DataError` for an index without images or a collection
    of another width.
    """
    if index.model is None:
        raise DataError("there is no image in the index", where=index.folder, code="retrieval.empty-index")
    client = _connected(address)
    try:
        with _explained(address):
            _prepare(client, collection, index.model.width, index_type, address)
            client.delete(collection, ids=[FACTS])
            done = 0
            for known, vectors in index.blocks(ROWS):
                client.upsert(
                    collection, [_row(*each, index.identity) for each in zip(known, vectors, strict=True)]
                )
                done += len(known)
                progress(done, len(index))
            client.delete(collection, filter=f'build != "{index.identity}"')
            client.upsert(collection, [_facts_row(index, index.model)])
            client.flush(collection)
    finally:
        client.close()


def _prepare(client: Any, collection: str, width: int, index_type: str, address: str) -> None:
    """Make the collection, or see that vectors of this width fit the one that is there."""
    from pymilvus import DataType

    if client.has_collection(collection):
        fields = {field["name"]: field for field in client.describe_collection(collection)["fields"]}
        there = fields.get("vector", {}).get("params", {}).get("dim")
        if there is None or int(there) != width or not {"build", *_TEXTS} <= fields.keys():
            what = f"collection {collection!r} is not a collection of images' vectors of width {width}"
            raise DataError(
                what, where=address, hint="name another collection", code="retrieval.foreign-collection"
            )
        client.load_collection(collection)
        return
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=65_535)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
    schema.add_field("build", DataType.VARCHAR, max_length=64)
    for name in _TEXTS:
        schema.add_field(name, DataType.VARCHAR, max_length=65_535)
    ways = client.prepare_index_params()
    ways.add_index("vector", index_type=index_type, metric_type="IP")
    client.create_collection(collection, schema=schema, index_params=ways, consistency_level="Strong")


def _row(known: dict[str, str], vector: Array, build: str) -> dict[str, Any]:
    texts = {name: _cut(known[name]) for name in _TEXTS}
    return {"id": known["id"], "vector": vector, "build": build, **texts}


def _facts_row(index: ImageIndex, model: Model) -> dict[str, Any]:
    facts = {
        "format": FORMAT,
        "clip": model.clip,
        "revision": model.revision,
        "identity": index.identity,
        "pictures": len(index),
    }
    texts = dict.fromkeys(_TEXTS, "") | {"text": json.dumps(facts)}
    return {"id": FACTS, "vector": np.array(model.probe, np.float32), "build": index.identity, **texts}


def _cut(text: str) -> str:
    return text.encode("utf-8")[:TEXT_BYTES].decode("utf-8", "ignore")


def _text(value: object) -> str:
    """A text. Raises `TypeError` for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} in place of a text")
    return value


def _retrieved(hit: Any) -> Retrieved:
    texts = {name: _text(hit["entity"][name]) for name in _TEXTS}
    return Retrieved(id=_text(hit["id"]), score=min(1.0, max(-1.0, float(hit["distance"]))), **texts)


def checked_address(address: str) -> str:
    """`address`, if it holds no credentials. Raises `PartError`, which does not repeat it, otherwise."""
    if not _is_file(address) and "@" in address:
        raise PartError(
            "`url` contains more than an address, perhaps credentials",
            hint=f"those go into {TOKEN}",
            code="retrieval.credentials",
        )
    return address


def _is_file(address: str) -> bool:
    return "://" not in address


def _connected(address: str, timeout: float | None = None) -> Any:
    """A client. Raises `PartError` without pymilvus, and `DataError` if nothing answers.

    milvus-lite counts as a server: it is a process of its own, and opens its file to write.
    """
    check_network(address)
    token = _token(address)
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        hint = 'pip install "mmkit-retrieval[milvus]"'
        raise PartError(
            "searching in Milvus needs pymilvus", where=address, hint=hint, code="part.needs-package"
        ) from error
    with _explained(address):
        return MilvusClient(address, token=token, timeout=timeout)


def _token(address: str) -> str:
    """What `TOKEN` holds, if the server is to get it. Raises `PartError` for a token that is for no server."""
    token = os.environ.get(TOKEN, "").strip()
    if not token or _is_file(address):
        return ""
    if not os.environ.get(URI, "").strip():
        raise PartError(
            f"{TOKEN} may be sent to only one server, and {URI} does not say which",
            where=address,
            hint=f"if it is this one: export {URI}={address}",
            code="retrieval.key-without-server",
        )
    return token if key_goes_to(address, URI) else ""


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn what pymilvus raises into `DataError`, and keep it from logging the same with a traceback."""
    from pymilvus.exceptions import MilvusException

    loggers = [logging.getLogger(name) for name in ("pymilvus", "milvus_lite", "grpc")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except MilvusException as error:
        if _is_file(address):
            hint = "the folder must be there and writable, and milvus-lite installed: pip install milvus-lite"
        else:
            hint = (
                f"is the server running, and is the address right? {TOKEN} holds the password, if there is one, and "
                f"{URI} names the server that gets it"
            )
        raise DataError(
            f"Milvus: {error.message or error}", where=address, hint=hint, code="retrieval.milvus"
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
