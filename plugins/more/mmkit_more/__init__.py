"""MoRe (Wang et al., EMNLP Findings 2022): extraction with retrieved contexts, and mixtures of such experts."""
