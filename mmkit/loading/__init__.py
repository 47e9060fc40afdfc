"""From a recipe's `[data]` and `[annotators]` to records in memory."""
