"""Retrieval for mmkit: what a corpus says about a sentence or a photo.

    retrieved, checksums < corpora < text, pictures < servers, indexing < annotators < command

Modules import from the left only.
"""
