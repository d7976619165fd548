"""A Redis client for one server, sentinels or a cluster. It knows no message, and no region.

What a process uses:

- ``url`` takes a ``redis_url`` apart; ``opening`` makes a link and a subscriber of it.
- ``link`` is the interface for commands, ``subscriber`` that for sharded pub/sub.
- ``scripts`` loads Lua scripts; ``slots`` says which bucket and slot a key lies in.
- ``guard`` is what a process hands in to decide whether a server is the right one; ``rights`` are
  what the ACL user must be allowed; ``promises`` are settings that a server must have.
- ``errors`` are all that is raised.

How it works inside:

- ``servers`` finds and connects to a server, or to the primary that sentinels name;
  ``connection`` stays connected and comes back; ``reasons`` puts in words why it can't.
- ``node_link`` pipelines commands to one server. ``cluster`` keeps the map of a cluster's slots,
  ``cluster_link`` sends each command to the primary that has its slot, over one ``member_link``
  each, and ``cluster_subscriber`` hears each channel where it is.
"""
