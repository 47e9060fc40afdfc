"""What `mmkit check` says of a recipe and its data."""
