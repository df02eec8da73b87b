"""Corpora as their owners distribute them -> shards: decoded recordings in files that are mapped into memory."""
