"""The processes of one gateway: supervisor, workers, how they drain, reload and report."""
