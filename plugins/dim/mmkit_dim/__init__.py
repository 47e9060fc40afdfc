"""DIM for mmkit."""
