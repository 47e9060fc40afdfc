"""Grounded multimodal named entity recognition for mmkit."""
