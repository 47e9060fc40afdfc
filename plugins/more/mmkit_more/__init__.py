"""MoRe (Wang et al., EMNLP Findings 2022): extraction with retrieved contexts, and mixtures of such experts."""

from __future__ import annotations

from mmkit import moved

MOVED = {
    "mmkit_more.build": "mmkit_retrieval.indexing.build",
    "mmkit_more.checksums": "mmkit_retrieval.checksums",
    "mmkit_more.clip_pictures": "mmkit_retrieval.pictures.clip_images",
    "mmkit_more.corpora": "mmkit_retrieval.corpora.formats",
    "mmkit_more.corpus": "mmkit_retrieval.corpora.article",
    "mmkit_more.image_facts": "mmkit_retrieval.pictures.image_facts",
    "mmkit_more.image_index": "mmkit_retrieval.pictures.image_index",
    "mmkit_more.image_retrieval": "mmkit_more.retrieval",
    "mmkit_more.image_writer": "mmkit_retrieval.pictures.image_writer",
    "mmkit_more.index": "mmkit_retrieval.indexing.index_writer",
    "mmkit_more.index_folder": "mmkit_retrieval.indexing.index_folder",
    "mmkit_more.jsonl_corpus": "mmkit_retrieval.corpora.jsonl_corpus",
    "mmkit_more.ledger": "mmkit_retrieval.indexing.ledger",
    "mmkit_more.media_files": "mmkit_retrieval.corpora.media_files",
    "mmkit_more.mediawiki_xml": "mmkit_retrieval.corpora.mediawiki_xml",
    "mmkit_more.milvus": "mmkit_retrieval.servers.milvus",
    "mmkit_more.nearest": "mmkit_retrieval.pictures.nearest",
    "mmkit_more.picture_search": "mmkit_retrieval.pictures.image_search",
    "mmkit_more.retrieved": "mmkit_retrieval.retrieved",
    "mmkit_more.search_servers": "mmkit_retrieval.servers.search_servers",
    "mmkit_more.source": "mmkit_retrieval.corpora.corpus",
    "mmkit_more.text_files": "mmkit_retrieval.text.text_files",
    "mmkit_more.text_index": "mmkit_retrieval.text.text_index",
    "mmkit_more.text_retrieval": "mmkit_more.retrieval",
    "mmkit_more.vectors": "mmkit_retrieval.pictures.vectors",
    "mmkit_more.wikipedia": "mmkit_retrieval.corpora.wikipedia",
    "mmkit_more.wikitext": "mmkit_retrieval.corpora.wikitext",
    "mmkit_more.workers": "mmkit_retrieval.corpora.workers",
}
"""What a module was called when retrieval was part of this package → what it is called now."""

moved.install(MOVED)
