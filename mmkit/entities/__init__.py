"""The entity side of a linker: what entities are compared by, from a knowledge base to scores."""
