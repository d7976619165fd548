"""What Homeport keeps in the region's own Redis, and how: keys, records' places and Lua scripts.

The connection is `gateway.redis`; the scripts are in ``lua/``, and ``scripts`` loads them.

- The region: ``keys`` spells every key and channel; ``stamp`` tells whether a Redis is the
  region's; ``rights`` lists what its user needs; ``region_clock`` tells the time; ``errors``.
- Apps and users: ``directory``, ``rates``, ``blocks``, ``headcount``, ``presence``.
- Messages: ``conversations`` holds them, ``recipients`` are those they are for, and ``fanout``
  tells their inboxes; ``inbox`` is what a user's devices read, ``readers`` those devices, ``rows``
  how a user stands to each conversation, ``stored`` the values of all these; ``endings`` is how
  sessions ended; ``events`` are what pub/sub carries.
- Groups and rooms: ``groups``, ``group_state``, ``rooms``.
- ``sweeper`` deletes what is past its time.
- For the command line, which ``admin`` opens: ``registry`` (apps), ``access`` (revoked tokens and
  ended sessions), ``region``, ``audit``, ``durable`` (writes that replicas have), ``server_facts``,
  ``user_facts``.
"""
