"""Data: the records every station shares, and the readers that make them from files."""
