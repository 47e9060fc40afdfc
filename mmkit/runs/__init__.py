"""Run folders: what a trained model needs on disk, and what is built on one."""
