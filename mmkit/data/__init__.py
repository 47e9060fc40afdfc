"""Data: the records that all stations use, and the readers that make them from files."""
