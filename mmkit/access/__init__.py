"""What may be contacted: other machines at all, and the servers that get a key."""
