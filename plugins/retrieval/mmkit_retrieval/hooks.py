"""Hooks: the commands of the plugin, and the search engine for linkers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mmkit_commands(cli: click.Group) -> None:
    from mmkit_retrieval.command import retrieval

    cli.add_command(retrieval)


@hookimpl
def mmkit_search_engines() -> dict[str, str]:
    return {"milvus": "mmkit_retrieval.servers.milvus_entities:MilvusEntities"}
