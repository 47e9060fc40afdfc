"""Scorers: how well an entity fits a query."""
