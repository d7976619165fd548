"""What a sender asks for with a message: checked, and put into the message."""

from __future__ import annotations

from typing import Final

from homeport import codes
from homeport.frames import Extra, Options
from homeport.ids import is_user_id

from gateway.chat.addressing import Kind
from gateway.chat.refused import Refused

NONE: Final = Options()


def check_options(options: Options, to: Kind) -> None:
    """Whether a message to a user, a group or a room can have these options.

    Raises:
        Refused: invalid_field.
    """
    if options is NONE:
        return
    if not all(is_user_id(user) for user in options.mentions):
        raise Refused(codes.INVALID_FIELD, "`mentions` must be user ids.")
    if options.online_only and options.ttl is not None:
        raise Refused(
            codes.INVALID_FIELD, "`online_only` is stored nowhere, so it can't have a `ttl`."
        )
    if to == "group" and options.online_only:
        raise Refused(codes.INVALID_FIELD, "A message to a group can't be `online_only`.")
    if to == "room" and options != NONE:
        raise Refused(codes.INVALID_FIELD, "A message to a room has no options.")


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
