"""From a name or a folder to a recipe: the recipes that there are, and one that is written for a folder of data."""
