"""The processes of one gateway, and how each is put together.

- Put together, from the bottom: ``core`` (keys and Redis), ``backend`` (``chat`` over the stores,
  hubs), ``door`` (sessions, listeners), ``worker`` (all of it). ``serving`` runs a worker until it
  is told to stop; ``starting`` says where it listens, or why it must not start.
- Beside the sessions, a worker's: ``timekeeping``, ``recovery`` (after Redis was away), ``drain``.
- Live changes: ``reload`` of the files, ``rotation`` of keys.
- Reports: ``status``, ``probe``, ``measures`` and ``usage``; ``report`` tells them to the ops
  process. ``logs`` are the other way to be seen.
- Several processes: ``supervisor``, its end of a ``child``; ``parent`` has a child end with it;
  ``runfolder``, in which they meet; ``control``, by which `homeport drain` asks.
- For every process: ``dumps`` allows none of its memory.
"""
