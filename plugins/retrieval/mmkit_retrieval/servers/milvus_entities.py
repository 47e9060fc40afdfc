"""The entities of a knowledge base in Milvus: the search engine `milvus` of linkers.

A collection has one row for each entity, under its row in the knowledge base, and one more, `FACTS`, which describes
the others: what they are, and how many of them are there. It is written before the first and after the last of them.
Whoever searches reads it afterwards, so that nobody takes rows of other entities for his own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmkit.access.network import check_network
from mmkit.decoders.engines import EntityEngine, EntityVectors, Progress
from mmkit.errors import DataError
from mmkit_retrieval.servers.milvus_client import (
    MOST,
    SECONDS,
    check_client,
    checked_address,
    connected,
    explained,
)

FORMAT = 1
FACTS = -1
"""The row that is no entity."""
BYTES = 4_000_000
"""The size of vectors that are sent together; a server takes messages of 64 MB by default."""
KEPT = 16_384
"""Entities after which it is written down how many are there: a killed process sends at most these again."""
QUERIES = 256
"""Vectors that are searched for together."""

_FIELDS = {"id", "vector", "facts"}
_MALFORMED = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)
"""What reading an answer raises if mmkit did not write the collection."""


@dataclass(frozen=True)
class Facts:
    """What a collection holds."""

    identity: str
    entities: int
    index: str
    """The index and its settings, with which the collection was made."""
    done: int
    """The number of entities that are there; fewer than `entities` while they are sent."""
    format: int = FORMAT


class MilvusEntities(EntityEngine):
    """Entities in a Milvus collection, which the first search fills.

    Args:
        url: the server (`http://host:19530`), without credentials, which come from the environment; or a file of the
            embedded milvus-lite, `NAME.db`.
        collection: the collection's name. It is made if it does not exist. One model and one knowledge base fill it:
            for other entities it is filled again.
        index: how Milvus searches: AUTOINDEX; FLAT, which is exact; HNSW; IVF_FLAT; ... With another index, the
            collection is made again.
        index_params: settings of this index, such as `{"M": 32, "efConstruction": 200}` of HNSW.
        search_params: settings of a search, such as `{"ef": 400}` of HNSW.
        timeout: how many seconds to wait for an answer.
    """

    most: ClassVar[int] = MOST - 1  # the row of facts may be among them

    def __init__(
        self,
        url: str,
        collection: str,
        *,
        index: str = "AUTOINDEX",
        index_params: dict[str, Any] | None = None,
        search_params: dict[str, Any] | None = None,
        timeout: float = SECONDS,
    ) -> None:
        self.url, self.collection, self.index = checked_address(url), collection, index
        self.index_params, self.search_params = index_params or {}, search_params or {}
        self.timeout = timeout
        self._client: Any = None
        self._filled: Facts | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the connection, which another process or a copy makes anew."""
        return {**vars(self), "_client": None}

    def place(self) -> str:
        return f"Milvus ({self.url}, collection {self.collection})"

    def check(self) -> None:
        check_client(self.url)

    def fill(self, entities: EntityVectors, progress: Progress) -> str:
        index = json.dumps([self.index, self.index_params], sort_keys=True)
        wanted = Facts(entities.identity, len(entities), index, len(entities))
        client = self._connected()
        with explained(self.url):
            there, said = self._there(client, entities.width, index), ""
            if there != wanted:
                if there is None or replace(there, done=wanted.done) != wanted:
                    said = self._told(there, entities)
                    there = replace(wanted, done=0)
                    self._write(client, there, entities.width)
                else:
                    said = f"{self.place()}: sending entities went on after the first {there.done:,}"
                self._send(client, entities, there, progress)
                client.delete(self.collection, filter=f"id >= {len(entities)}", timeout=self.timeout)
                client.flush(self.collection, timeout=10 * self.timeout)
                self._write(client, wanted, entities.width)
            client.load_collection(self.collection, timeout=10 * self.timeout)
        self._filled = wanted
        return said

    def _told(self, there: Facts | None, entities: EntityVectors) -> str:
        if there is None:
            return f"{len(entities):,} entities were sent to {self.place()}"
        return (
            f"{self.place()} had {there.entities:,} entities of another knowledge base, model or index. They were "
            f"replaced: {len(entities):,} entities were sent"
        )

    def _send(self, client: Any, entities: EntityVectors, there: Facts, progress: Progress) -> None:
        """Send the entities that are not there."""
        size = max(1, min(KEPT, BYTES // (4 * entities.width)))
        kept = there.done
        for first, vectors in entities.blocks(size, there.done):
            rows = [{"id": first + i, "vector": vector, "facts": ""} for i, vector in enumerate(vectors)]
            client.upsert(self.collection, rows, timeout=self.timeout)
            done = first + len(rows)
            if done - kept >= KEPT:
                self._write(client, replace(there, done=done), entities.width)
                kept = done
            progress(done, len(entities))

    def _write(self, client: Any, facts: Facts, width: int) -> None:
        row = {"id": FACTS, "vector": np.zeros(width, np.float32), "facts": json.dumps(asdict(facts))}
        client.upsert(self.collection, [row], timeout=self.timeout)

    def _there(self, client: Any, width: int, index: str) -> Facts | None:
        """What the collection held: None if there was none. One of another width or index is made again, empty."""
        if not client.has_collection(self.collection, timeout=self.timeout):
            self._make(client, width)
            return None
        fields = {
            field["name"]: field
            for field in client.describe_collection(self.collection, timeout=self.timeout)["fields"]
        }
        if fields.keys() != _FIELDS:
            raise self._foreign()
        client.load_collection(self.collection, timeout=10 * self.timeout)
        facts = self._facts(client)
        if facts is None and client.query(
            self.collection, filter="id >= 0", output_fields=["id"], limit=1, timeout=self.timeout
        ):
            raise self._foreign()  # mmkit writes what a collection holds before the first entity
        if int(fields["vector"]["params"]["dim"]) != width or (facts is not None and facts.index != index):
            client.drop_collection(self.collection, timeout=self.timeout)
            self._make(client, width)
        return facts

    def _make(self, client: Any, width: int) -> None:
        from pymilvus import DataType

        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        schema.add_field("facts", DataType.VARCHAR, max_length=1024)
        ways = client.prepare_index_params()
        ways.add_index("vector", index_type=self.index, metric_type="IP", params=self.index_params)
        client.create_collection(
            self.collection,
            schema=schema,
            index_params=ways,
            consistency_level="Strong",
            timeout=10 * self.timeout,
        )

    def _facts(self, client: Any) -> Facts | None:
        """What the collection says of itself; None if a killed process only made it. Raises `DataError`."""
        found = client.get(self.collection, [FACTS], output_fields=["facts"], timeout=self.timeout)
        if not found:
            return None
        try:
            told = json.loads(found[0]["facts"])
            known = told["format"]
            if known == FORMAT:
                names = (str(told["identity"]), int(told["entities"]), str(told["index"]))
                return Facts(*names, int(told["done"]))
        except _MALFORMED as error:
            raise self._foreign() from error
        raise DataError(
            f"the collection has format {known}, and this version reads {FORMAT}",
            where=self.place(),
            hint="update mmkit-retrieval, or give another name for the collection",
            code="retrieval.index-format",
        )

    def near(self, vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        check_network(self.url)
        client = self._connected()
        rows = np.full((len(vectors), count), FACTS, np.int64)
        with explained(self.url):
            for first in range(0, len(vectors), QUERIES):
                found = client.search(
                    self.collection,
                    data=list(vectors[first : first + QUERIES]),
                    anns_field="vector",
                    limit=count + 1,
                    search_params={"metric_type": "IP", "params": self.search_params},
                    timeout=self.timeout,
                )
                self._read(found, rows[first : first + QUERIES])
            there = self._facts(client)
        filled = self._filled
        if filled is None or there != filled:
            raise DataError(
                "the collection was filled with other entities while this process searched in it",
                where=self.place(),
                hint="give each model, and each knowledge base, a collection of its own",
                code="retrieval.other-entities",
            )
        if rows.size and not (rows.min() >= FACTS and rows.max() < filled.entities):
            raise self._foreign()
        return rows

    def _read(self, found: Sequence[Any], rows: NDArray[np.int64]) -> None:
        """Write the rows of entities that were found into `rows`."""
        try:
            for hits, own in zip(found, rows, strict=True):
                ids = list(dict.fromkeys(int(hit["id"]) for hit in hits if hit["id"] != FACTS))[: len(own)]
                own[: len(ids)] = ids
        except _MALFORMED as error:
            raise self._foreign() from error

    def _foreign(self) -> DataError:
        return DataError(
            "the collection was not written by mmkit for linking",
            where=self.place(),
            hint="give another name for the collection",
            code="retrieval.foreign-collection",
        )

    def _connected(self) -> Any:
        if self._client is None:
            self._client = connected(self.url, self.timeout)
        return self._client
