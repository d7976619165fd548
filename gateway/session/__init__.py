"""One connection's life, from its first frame to its last. Does no I/O of its own."""
