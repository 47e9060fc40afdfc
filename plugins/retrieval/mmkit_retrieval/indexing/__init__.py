"""From a corpus to an index folder, in steps that may be cut off anywhere."""
