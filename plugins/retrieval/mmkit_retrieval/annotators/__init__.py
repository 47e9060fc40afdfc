"""The annotators: search results become the context of an example."""
