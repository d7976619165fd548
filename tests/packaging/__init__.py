"""What strangers install: the two distributions, built and put into clean environments."""
