"""Small synthetic datasets for `--sample`, in the published formats; their images decide the labels."""
