"""Images as CLIP vectors, in an index on disk."""
