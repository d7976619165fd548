"""Groups whose membership is an interval of their conversation's numbers.

The state is the hash of `gateway.store.group_state`, in the conversation's bucket; but a member's
field holds ``<role> <since> <n of since>``, and ``x:<user>`` one who went and may not know it yet,
with ``<since> <n of since> <until>``. A change and its notice are one script, so the notice has a
number in the conversation, and that is where those who come begin and those who go end.

Every method may raise `Unavailable` or `CommandFault`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from homeport.ids import GROUP
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.tiers import Tier
from gateway.redis.link import Link
from gateway.store import recipients
from gateway.store.conversations import TAKEOVER_MS, ConversationStore, NewEntry
from gateway.store.group_state import Change, Member, fields_of, member_of
from gateway.store.keys import Keys
from gateway.store.recipients import Interval, Recipients
from gateway.store.scripts import script

_CHANGE: Final = script("membership", "stored", "append")


@dataclass(frozen=True, slots=True)
class Membership:
    """A group at one version. `gone` is empty, or the owner of what was deleted.

    `intervals` are those of the members, and of those who went and may not know it yet.
    """

    id: str
    version: int
    sealed_name: bytes
    muted: bool
    members: dict[str, Member]
    intervals: dict[str, Interval]
    gone: str
    recipients: Recipients = field(repr=False)


class MembershipStore:
    """The groups of a region."""

    def __init__(self, link: Link, keys: Keys, conversations: ConversationStore) -> None:
        self._link = link
        self._keys = keys
        self._conversations = conversations

    async def read(self, app_id: str, group_id: str) -> Membership | None:
        """The group as it is now; None: there is none."""
        raw = await self._link.call("HGETALL", self._keys.group(app_id, group_id).state)
        if not raw:
            return None
        return self._parse(app_id, group_id, dict(zip(raw[::2], raw[1::2], strict=True)))

    def _parse(self, app_id: str, group_id: str, state: Mapping[bytes, bytes]) -> Membership:
        members: dict[str, Member] = {}
        intervals: dict[str, Interval] = {}
        for name, value in state.items():
            user = name[2:].decode()
            if name.startswith(b"u:"):
                role, since, since_n = value.split(b" ")
                members[user] = member_of(role)
                intervals[user] = Interval(int(since), int(since_n))
            elif name.startswith(b"x:"):
                intervals[user] = Interval(*map(int, value.split(b" ")))
        version = int(state[b"v"])
        return Membership(
            group_id,
            version,
            state.get(b"n", b""),
            state.get(b"q") == b"1",
            members,
            intervals,
            state.get(b"gone", b"").decode(),
            recipients.group(self._keys, app_id, group_id, version, intervals),
        )

    async def change(
        self,
        app_id: str,
        tier: Tier,
        group_id: str,
        before: Membership | None,
        change: Change,
        version: int,
        notice: NewEntry,
    ) -> bool:
        """Make `before` into `version` by `change`, and tell the members with `notice`.

        False if the group is no longer as `before` was. Where it raises, the change may have been
        made; then the next message, or the sweeper, tells what was not told.
        """
        keys = self._keys.group(app_id, group_id)
        talk = self._keys.conversation(app_id, GROUP + group_id)
        words: list[str | bytes] = []
        said = fields_of(change)
        for name, value in zip(said[::2], said[1::2], strict=True):
            if isinstance(name, str) and name.startswith("u:"):
                words += ("out", name[2:], "") if value == "" else ("in", name[2:], value)
            else:
                words += ("set", name, value)
        if change.deleted_by is not None and before is not None:
            for user in before.members:
                words += ("out", user, "")
        done = await self._link.run(
            _CHANGE,
            (keys.state, talk.head, talk.due),
            before.version if before is not None else 0,
            version,
            notice.time_ms,
            notice.time_ms + TAKEOVER_MS,
            talk.member,
            b"".join(self._conversations.numbering(notice.id, talk.bucket)),
            "",
            notice.flags,
            notice.record,
            DEDUPE_WINDOW_MS if change.deleted_by is not None else "",
            *words,
            durable=True,
        )
        if not done:
            return False
        after = await self.read(app_id, group_id)
        if after is not None:
            await self._conversations.heal(app_id, tier, after.recipients)
        return True
