"""The images of a corpus in Milvus, for corpora that are too large for one machine.

A collection has one row for each image, and one more, `FACTS`, which is written last. This row describes the others.
Its vector is the probe of the CLIP model that encoded them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmkit.access.network import check_network
from mmkit.errors import DataError
from mmkit_retrieval.pictures.image_index import ImageIndex
from mmkit_retrieval.pictures.vectors import Array, Model
from mmkit_retrieval.retrieved import Retrieved
from mmkit_retrieval.servers.milvus_client import MOST, SECONDS, check_file, connected, explained

FORMAT = 1
FACTS = "facts"
"""The id of the row that is not an image; other ids contain a `#`."""
ROWS = 256
"""How many images are sent at once."""
TEXT_BYTES = 16_000
"""The longest title, caption or lead in bytes; the rest is cut off. Milvus allows 65,535."""
_TEXTS = ("article", "title", "text", "caption", "image")
_MALFORMED = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)
"""What reading a row raises if mmkit did not write it."""


class MilvusImages:
    """A collection that `upload` filled. It is searched like an `ImageIndex`, and has the same `identity` and `model`.

    `address` is that of a server (`http://host:19530`), or a file of the embedded milvus-lite. Raises `PartError` if
    pymilvus is missing or the server may not be contacted. Raises `DataError` if the server does not answer, and if the
    collection is missing, unfinished, or of another format.
    """

    def __init__(self, address: str, collection: str) -> None:
        self.address, self.collection = address, collection
        check_file(address)
        self._client = connected(address, SECONDS)
        with explained(address):
            if not self._client.has_collection(collection):
                names = ", ".join(sorted(self._client.list_collections())) or "none"
                hint = f"upload an index to it; existing collections: {names}"
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
                revision = facts["revision"]  # None if the model has no revision
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
            "the collection was not written by mmkit",
            where=f"{self.address}, collection {self.collection}",
            hint="drop the collection and upload the index again",
            code="retrieval.foreign-collection",
        )

    def __len__(self) -> int:
        """How many images there are."""
        return self._count

    def search(self, vectors: Array, top: int) -> list[list[Retrieved]]:
        """The `top` images nearest to each of `vectors [N, D]`, best first; the score is their cosine.

        Raises `DataError` if the vectors have another width, and if Milvus fails.
        """
        queries = np.ascontiguousarray(vectors, np.float32)
        if not len(queries):
            return []
        if queries.shape[1] != self.model.width:
            raise DataError(
                f"the collection's vectors have width {self.model.width}, but that of a query has {queries.shape[1]}",
                where=self.address,
                hint=f"encode queries with {self.model.clip}",
                code="retrieval.query-width",
            )
        check_network(self.address)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
        limit = min(top + 1, MOST)  # the row of facts may be among them
        with explained(self.address):
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
    """Copy the images of `index` to a Milvus collection, which is created if it does not exist. All other rows go.

    After an interruption, run the upload again: it starts from the beginning and gives the same rows. Until it is
    complete, `MilvusImages` refuses the collection. `index_type` is Milvus's name for how vectors are searched ("FLAT"
    is exact); it is used only for a new collection. Raises the errors of `MilvusImages`, and `DataError` if the index
    has no images or the collection has vectors of another width.
    """
    if index.model is None:
        raise DataError("the index contains no images", where=index.folder, code="retrieval.empty-index")
    client = connected(address)
    try:
        with explained(address):
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
    """Create the collection, or check that an existing one has the right fields and vectors of this width."""
    from pymilvus import DataType

    if client.has_collection(collection):
        fields = {field["name"]: field for field in client.describe_collection(collection)["fields"]}
        there = fields.get("vector", {}).get("params", {}).get("dim")
        if there is None or int(there) != width or not {"build", *_TEXTS} <= fields.keys():
            what = (
                f"collection {collection!r} exists, but does not contain vectors of images of width {width}"
            )
            raise DataError(
                what,
                where=address,
                hint="give another name for the collection",
                code="retrieval.foreign-collection",
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
    """`value`, if it is a string. Raises `TypeError` otherwise."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} in place of a text")
    return value


def _retrieved(hit: Any) -> Retrieved:
    texts = {name: _text(hit["entity"][name]) for name in _TEXTS}
    return Retrieved(id=_text(hit["id"]), score=min(1.0, max(-1.0, float(hit["distance"]))), **texts)
