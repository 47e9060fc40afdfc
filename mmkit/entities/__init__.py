"""The entity side of a linker: how entities are compared, from a knowledge base to scores."""
