"""Recordings that take longer than a client waits: accepted once, kept on disk, and done even after crashes."""
