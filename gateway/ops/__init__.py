"""What operators look at: health, metrics and the progress of a drain."""
