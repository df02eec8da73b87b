"""From untrusted bytes to samples, in a confined process, within every limit on uploads."""
