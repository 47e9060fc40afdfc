"""Run folders: trained models on disk, and parts that build on them."""
