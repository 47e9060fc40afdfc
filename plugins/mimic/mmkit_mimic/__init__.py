"""MIMIC for mmkit."""
