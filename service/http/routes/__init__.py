"""The addresses of the API; the handlers are thin."""
