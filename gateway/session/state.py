"""The states of a session.

The states, which only go down the list:

======== ===============================================================================
OPENED   waiting for connect, with a deadline
CHECKING the token is being verified, the channel subscribed, the inbox opened
LIVE     pushes, sends and acknowledgements
LEAVING  the gateway drains: pushes, acknowledgements, and answers to earlier requests
CLOSED   a close frame was sent, or the connection is gone; nothing is sent any more
======== ===============================================================================
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """See the module's table."""

    OPENED = 0
    CHECKING = 1
    LIVE = 2
    LEAVING = 3
    CLOSED = 4
