"""Retrieval for mmkit: finds what a corpus says about a sentence or an image.

    retrieved, checksums < corpora < text, pictures < servers, indexing < annotators < command

Modules import from the left only.
"""
