"""HVPNeT (Chen et al., NAACL Findings 2022, arXiv 2205.03521) as parts for mmkit."""
