"""PGIM (Li et al., EMNLP Findings 2023): named entities in posts, with a chat model's knowledge as context."""
