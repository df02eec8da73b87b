"""Several microphones: where a sound comes from, joined with the masks of the network, and a filter per source."""
