"""What it takes to separate a recording: no HTTP, no environment variables, and torch in `network` only."""
