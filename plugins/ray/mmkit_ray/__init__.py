"""Predictions and annotations of mmkit on several machines, with Ray."""
