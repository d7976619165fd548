"""Processes: the worker that puts a gateway together, and the Valkey that `homeport dev` brings."""
