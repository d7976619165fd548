"""What a sender asks for with a message: checked, and put into the message."""

from __future__ import annotations

from typing import Final

from gateway.chat.refused import Refused
from protocol import codes
from protocol.frames import Extra, Options, Send
from protocol.ids import GROUP, ROOM, is_user_id

_NONE: Final = Options()


def options_of(frame: Send) -> Options:
    """The options of `frame`, or the defaults.

    Raises:
        Refused: invalid_field.
    """
    options = frame.options
    if options is None:
        return _NONE
    if not all(is_user_id(user) for user in options.mentions):
        raise Refused(codes.INVALID_FIELD, "`mentions` must be user ids.")
    if options.online_only and options.ttl is not None:
        raise Refused(
            codes.INVALID_FIELD, "`online_only` is stored nowhere, so it can't have a `ttl`."
        )
    if frame.to.startswith(GROUP) and options.online_only:
        raise Refused(codes.INVALID_FIELD, "A message to a group can't be `online_only`.")
    if frame.to.startswith(ROOM) and options != _NONE:
        raise Refused(codes.INVALID_FIELD, "A message to a room has no options.")
    return options


def expires_ms(options: Options, time_ms: int) -> int | None:
    """When the time to live of a message accepted at `time_ms` ends, both in milliseconds since
    1970; None: it has none."""
    return None if options.ttl is None else time_ms + options.ttl * 1000


def extra_of(options: Options, ends_ms: int | None) -> Extra | None:
    """What of `options` the recipients see; None where that is nothing.

    `ends_ms` is what `expires_ms` tells.
    """
    extra = Extra(options.mentions, options.reply, ends_ms)
    return extra if extra != Extra() else None
