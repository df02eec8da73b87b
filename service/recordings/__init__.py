"""Recordings that are kept for a while, listened to once, to be separated again and again."""
