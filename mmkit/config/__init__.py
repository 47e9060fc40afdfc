"""What `registry.py` and `recipe.py` are made of: constructor parameters, typed values, recipe text and its checks."""
