"""Audio files -> samples: which format a file has, and the library that decodes it. Axes: (samples, channels)."""
