"""From embeddings to sources: k-means, and how many sources there are."""
