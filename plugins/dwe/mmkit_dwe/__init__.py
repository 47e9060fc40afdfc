"""DWE for mmkit."""
