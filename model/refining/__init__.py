"""What comes after the clustering: the masks of all sources, made better by a second, small network."""
