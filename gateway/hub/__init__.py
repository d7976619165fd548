"""In-process fan-out: from a channel to the sessions that listen to it.

``hub`` is for users' own channels, ``rooms`` (with ``fanout``) for rooms, and ``presence`` (with
``watchers``) for users who are watched; ``hubs`` are the three together. ``lease`` keeps this
gateway among the living, and ``alive`` says which others are.
"""
