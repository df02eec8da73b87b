"""Recordings that take longer than a client waits: accepted once, kept on disk, done whatever dies."""
