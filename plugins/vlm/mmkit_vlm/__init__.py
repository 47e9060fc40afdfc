"""Vision-language models as extractors for mmkit."""
