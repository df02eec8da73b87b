"""The web page: what people open in a browser to try the service."""
