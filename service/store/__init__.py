"""Where files are that several servers share: an object store, or any other place that fsspec knows."""
