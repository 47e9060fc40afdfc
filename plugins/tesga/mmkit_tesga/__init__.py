"""TESGA (Wang et al., Knowledge-Based Systems 2024): entities and relations jointly, with similarity-gated images."""
