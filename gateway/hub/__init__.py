"""In-process fan-out: from a channel to the sessions that listen to it."""
