"""Readers and writers for the files of annotation tools and data libraries: `formats.<name>.v1`, one module each."""
