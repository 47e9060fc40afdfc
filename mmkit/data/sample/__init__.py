"""Small drawn datasets for `--sample`, in the published on-disk formats; their pictures decide the labels."""
