"""The REST service and the `unmingle` command."""
