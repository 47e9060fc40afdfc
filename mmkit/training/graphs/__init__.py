"""Whole updates recorded and replayed as CUDA graphs: a GPU gets one launch instead of thousands."""
