"""One connection's life, from its first frame to its last. Does no I/O of its own.

- ``session`` is one, ``sessions`` makes them, ``state`` names its states, ``wire`` is what it asks
  of a connection.
- Connecting: ``connecting``, with ``handshake`` (the token), ``app_limit`` and ``entrance`` (every
  place that a session enters and leaves).
- Live: ``delivery`` with its ``window``, ``hold`` with ``saving`` (acknowledgements), ``inboxes``,
  ``requests`` with ``routes``, ``blockers``, ``lifetime`` with ``deadlines``, ``timing``.
- Seen by operators: ``counts``, ``notes``, ``tracing``.
"""
