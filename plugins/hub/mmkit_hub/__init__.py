"""Runs on the Hugging Face Hub: packages with a model card, and addresses that load them."""
