"""Who speaks when, within a segment: a network that tells up to three people apart, and what it says of a recording."""
