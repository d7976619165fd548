"""What Homeport keeps in the region's own Redis, and how: keys, records' places and Lua scripts.

The connection is `gateway.redis`; the scripts are in ``lua/``, and ``scripts`` loads them.

- The region: ``keys`` spells every key and channel; ``stamp`` tells whether a Redis is the
  region's; ``rights`` lists what its user needs; ``region_clock`` tells the time; ``errors``.
- Apps and users: ``directory``, ``rates``, ``blocks``, ``headcount``, ``presence``.
- Messages: ``inbox`` is what a user's devices read, ``readers`` those devices, ``entries`` what
  they read and ``endings`` how sessions ended; ``log`` is a conversation's history; ``audience``
  stores for many at once; ``receipts``; ``events`` are what pub/sub carries.
- Groups and rooms: ``groups``, ``group_state``, ``group_notices``, ``rooms``.
- ``sweeper`` deletes what is past its time.
- For the command line, which ``admin`` opens: ``registry`` (apps), ``access`` (revoked tokens and
  ended sessions), ``region``, ``audit``, ``durable`` (writes that replicas have), ``server_facts``,
  ``user_facts``.
"""
