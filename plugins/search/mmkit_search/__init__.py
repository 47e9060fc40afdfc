"""A search for good settings of a recipe, with Optuna: `mmkit search`."""
