"""Conversations, inboxes and rows against a model in plain Python: whatever happens, in whatever
order,
and wherever a gateway dies on its way, they agree. The model is in `tests.gateway.store.talks`.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis
from homeport.ids import direct_conversation
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.apps.tiers import TIERS
from gateway.redis.link import Link, Then
from gateway.security.keyring import Keyring
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry, StaleMembers
from gateway.store.fanout import TAKEOVER_MS
from gateway.store.group_state import Change, Group, Member
from gateway.store.groups import GroupStore
from gateway.store.inbox import PROFILE_MS, InboxStore
from gateway.store.recipients import ALWAYS, Interval, Recipients
from gateway.store.rows import RowStore
from gateway.store.stored import CLOCKS_MS, COUNTS
from tests.gateway.store.conftest import APP_ID, Store, apart, message_id, open_store, together
from tests.gateway.store.talks import Box, Known, Said, Talk, Told

USERS = ("ann", together("ann"), apart("ann"))
"""Two share a bucket, so one call tells both of them; the third one's is another call."""

GROUPS = ("ab" * 16, "cd" * 16)
CAP = 12
SLACK = 3_600_000
HOUR = 3_600.0
DAY = 24 * HOUR

users = st.sampled_from(USERS)
cuts = st.sampled_from([None, None, None, 0, 1, 2, 3])
"""How many commands a gateway sends before it dies; None: it lives."""


class MortalLink:
    """A link of a gateway that may die: after `left` commands, what it sends is never sent.

    `run` is that of the server, as the gateway has heard.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.left: int | None = None
        self.run_number = 1

    def _alive(self) -> bool:
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0

    def run_of(self, bucket: int) -> str:
        return f"{self.run_number:08x}"

    def run_then(self, then: Then, *said: Any, **options: Any) -> None:
        if self._alive():
            self._link.run_then(then, *said, **options)

    def run_packed(self, then: Then, *said: Any, **options: Any) -> None:
        if self._alive():
            self._link.run_packed(then, *said, **options)

    def run(self, *said: Any, **options: Any) -> asyncio.Future[Any]:
        if self._alive():
            return self._link.run(*said, **options)
        return asyncio.get_running_loop().create_future()

    def call(self, *said: Any, **options: Any) -> asyncio.Future[Any]:
        return self._link.call(*said, **options)


class Conversations(RuleBasedStateMachine):
    """Does the same to a real store and to the model."""

    url = ""
    keyring: Keyring

    def __init__(self) -> None:
        super().__init__()
        with redis.Redis.from_url(self.url) as raw:
            raw.flushall()
        self.loop = asyncio.new_event_loop()
        self.opening = open_store(self.url, self.keyring)
        self.store: Store = self.loop.run_until_complete(self.opening.__aenter__())
        self.store.use_tier("free", CAP)
        self.tier, self.app = self.store.tier, self.store.app
        self.link = MortalLink(self.store.link)
        link: Any = self.link
        self.talks = ConversationStore(link, self.store.keys)
        self.groups = self.a_gateways_groups()
        self.inboxes = InboxStore(link, self.store.keys, self.talks)
        self.rows = RowStore(link, self.store.keys)
        self.boxes = {user: Box(user) for user in USERS}
        self.model: dict[str, Talk] = {}
        self.sent: list[tuple[str, str, str, NewEntry]] = []
        self.settling: dict[str, tuple[int, int, object]] = {}
        self.kept: dict[str, tuple[Talk, dict[bytes, bytes]]] = {}
        self.count = 0

    def teardown(self) -> None:
        self.loop.run_until_complete(self.opening.__aexit__(None, None, None))
        self.loop.close()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def a_gateways_groups(self) -> GroupStore:
        """As a gateway that has just started has them: it knows none."""
        link: Any = self.link
        return GroupStore(link, self.store.keys, self.talks, lambda: self.now)

    @property
    def now(self) -> int:
        return self.store.clock.ms

    def entry(self, sender: str, flags: int = COUNTS, ttl: int | None = None) -> NewEntry:
        self.count += 1
        ends = None if ttl is None else self.now + ttl
        # The first bytes of an id become an epoch: as good as random, as real ids are.
        mid = hashlib.sha256(message_id()).digest()[:16]
        return NewEntry(mid, b"record %d." % self.count, self.now, sender, flags, ends)

    def talk(self, name: str) -> Talk:
        return self.model.setdefault(name, Talk(name, run=self.link.run_number))

    async def mortal(self, call: Any, cut: int | None) -> Any:
        """What a gateway gets that dies after `cut` commands: None, then."""
        self.link.left = cut
        task = asyncio.ensure_future(call())
        while not task.done():
            await self.store.link.call("PING")
            await self.store.link.call("PING")
            if cut is not None and self.link.left is not None and self.link.left < 0:
                for _ in range(5):
                    await self.store.link.call("PING")
                task.cancel()
                self.groups = self.a_gateways_groups()
                break
        self.link.left = None
        try:
            return await task
        except asyncio.CancelledError:
            return None

    # -- where a fan-out goes ----------------------------------------------------------------------

    def told(
        self, talk: Talk, said: Said | None, to: Recipients, steps: int | None, numbering: Any
    ) -> None:
        """Tell the model's inboxes in the order of the calls: of `steps` of them, None: of all."""
        if said is None:
            return
        conversation = talk.name
        here = [member.partition(":")[2] for member in to.here_arguments[::2]]
        if conversation.startswith("d:"):
            both = dict.fromkeys(conversation.split(":")[1:])
            calls = [here] + [[user] for user in both if user not in here]
            if said.sender in both and len(calls) > 2:
                calls[1:] = [[said.sender], [u for u in both if u != said.sender]]
        else:
            buckets: dict[int, list[str]] = {}
            for user in talk.intervals:
                bucket = self.store.keys.inbox(APP_ID, user).bucket
                buckets.setdefault(bucket, []).append(user)
            order = [part.bucket for part in to.parts]
            calls = [[]] + [buckets[bucket] for bucket in order]
        reached = calls if steps is None else calls[: max(steps, 0)]
        for call in reached:
            for user in call:
                peer = self.peer(user, conversation)
                interval = talk.intervals.get(user, ALWAYS)
                self.boxes[user].place(talk, peer, said, interval, numbering, CAP)
        if len(reached) == len(calls) and steps is not None and steps >= len(calls):
            steps = None
        if steps is None:
            self.settles(talk, said.seq, numbering[0])

    def settles(self, talk: Talk, seq: int, born: object) -> None:
        known = self.settling.get(talk.name)
        if known is None or known[1] <= seq or known[2] is not born:
            self.settling[talk.name] = (talk.version, seq, born)

    def peer(self, user: str, conversation: str) -> str:
        if conversation.startswith("g:"):
            return conversation
        one, _, other = conversation[2:].partition(":")
        return other if user == one else one

    # -- what happens ------------------------------------------------------------------------------

    @rule(sender=users, to=users, cut=cuts, ttl=st.sampled_from([None, None, 1000, 7_200_000]))
    def somebody_sends(self, sender: str, to: str, cut: int | None, ttl: int | None) -> None:
        self.it_is_sent(
            sender, to, direct_conversation(sender, to), self.entry(sender, ttl=ttl), cut
        )

    def it_is_sent(self, sender: str, to: str, name: str, entry: NewEntry, cut: int | None) -> None:
        recipients = self.recipients(sender, to, name)
        talk = self.talk(name)
        known = next((s for s in talk.said.values() if s.mid == entry.id), None)
        repeated = any(mid == entry.id for mid in self.all_sent(name))
        stored = self.run(self.mortal(lambda: self.send(recipients, entry), cut))
        if cut == 0:
            assert stored is None
            return
        numbering = talk.noticing(self.link.run_number)
        if known is None and not repeated:
            known = talk.add(
                self.link.run_number,
                entry.time_ms,
                bool(entry.flags & COUNTS),
                entry.sender,
                entry.id,
                entry.record,
            )
            known.ends = entry.expires_ms
            numbering = talk.born, talk.lost_up_to
            self.all_sent(name).add(entry.id)
            self.sent.append((sender, to, name, entry))
        if stored is not None and known is not None:
            assert (stored.seq, stored.time_ms) == (known.seq, known.time)
            assert stored.repeated == repeated
        self.told(talk, known, recipients, cut, numbering)

    async def send(self, recipients: Recipients, entry: NewEntry) -> Any:
        return await self.talks.send(APP_ID, self.tier, recipients, entry)

    def all_sent(self, name: str) -> set[bytes]:
        """The ids that the conversation remembers: as long as this test runs."""
        found: set[bytes] = self.__dict__.setdefault("_ids", {}).setdefault(name, set())
        return found

    def recipients(self, sender: str, to: str, name: str) -> Recipients:
        if name.startswith("d:"):
            return self.talks.direct(APP_ID, sender, to)
        group = self.group(name[2:])
        assert group is not None
        return group.recipients

    def group(self, group: str) -> Group | None:
        async def read() -> Group | None:
            return await self.groups.current(self.app, group)

        found: Group | None = self.run(read())
        return found

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), cut=cuts)
    def somebody_repeats(self, data: st.DataObject, cut: int | None) -> None:
        sender, to, name, entry = data.draw(st.sampled_from(self.sent))
        if name.startswith("g:") and self.model[name].ended:
            return
        # A repeat is sealed anew, with another time: what was stored first counts.
        again = replace(entry, record=b"again", time_ms=self.now)
        self.it_is_sent(sender, to, name, again, cut)

    @rule(
        group=st.sampled_from(GROUPS),
        inside=st.sets(users, min_size=1),
        cut=st.sampled_from([None, None, 1, 4, 5]),
        ends=st.integers(0, 7),
    )
    def a_group_changes(self, group: str, inside: set[str], cut: int | None, ends: int) -> None:
        """To have these members; or it ends."""
        name = f"g:{group}"
        talk = self.model.get(name)
        if talk is not None and talk.ended:
            return
        before = self.group(group) if talk else None
        old = talk.members() if talk else set()
        members: dict[str, Member | None] = {user: Member("member") for user in inside - old}
        members |= dict.fromkeys(old - inside)
        gone = "ann" if talk is not None and ends == 0 else None
        change = Change(members=members)
        if gone is not None:
            change = Change(deleted_by=gone)
        talk = self.talk(name)
        notice = self.entry("", flags=0)
        self.run(
            self.mortal(
                lambda: self.groups.change(
                    self.app, group, before, change, talk.version + 1, notice
                ),
                cut,
            )
        )
        since, since_n = talk.q, talk.n
        if gone is not None:
            talk.said.clear()
            talk.gone, talk.ended = talk.q, True
            for box in self.boxes.values():
                if (row := box.rows.get(name)) is not None:
                    row.behind = True  # until the end is told, what went with the group is counted
        said = talk.add(self.link.run_number, notice.time_ms, False, "", notice.id, notice.record)
        talk.version += 1
        for user in sorted(old if gone else old - inside):
            kept = talk.intervals[user]
            talk.intervals[user] = Interval(kept.since, kept.since_n, said.seq, said.n)
        for user in (inside - old) if not gone else ():
            talk.intervals[user] = Interval(since, since_n)
        # The change is one command, two read it back, and the rest tell.
        group_now = self.group(group)
        assert group_now is not None
        steps = None if cut is None else cut - 2
        self.told(talk, said, group_now.recipients, steps, (talk.born, talk.lost_up_to))

    @precondition(lambda self: any(t.version for t in self.model.values()))
    @rule(data=st.data(), cut=cuts, ttl=st.sampled_from([None, None, 1000]), old=st.booleans())
    def a_member_sends(
        self, data: st.DataObject, cut: int | None, ttl: int | None, old: bool
    ) -> None:
        groups = [t for t in self.model.values() if t.version and not t.ended and t.members()]
        if not groups:
            return
        talk = data.draw(st.sampled_from(groups))
        sender = data.draw(st.sampled_from(sorted(talk.members())))
        if old:
            stale = self.recipients(sender, talk.name, talk.name)._replace(version="0")
            with pytest.raises(StaleMembers) as caught:
                self.run(self.send(stale, self.entry(sender)))
            assert caught.value.version == talk.version
            return
        self.it_is_sent(sender, talk.name, talk.name, self.entry(sender, ttl=ttl), cut)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), recall=st.booleans(), cut=st.sampled_from([None, None, 1, 2]))
    def a_message_is_changed(self, data: st.DataObject, recall: bool, cut: int | None) -> None:
        sender, to, name, entry = data.draw(st.sampled_from(self.sent))
        talk = self.model[name]
        said = next((s for s in talk.said.values() if s.mid == entry.id), None)
        if said is None or talk.ended:
            return
        change = 200 if recall else min(said.change + 1, 199)
        recipients, notice = self.recipients(sender, to, name), self.entry("", flags=0)
        if not recall:
            notice = replace(notice, expires_ms=said.ends)
        record = b"changed %d." % self.count

        def replaced(expected: int) -> Any:
            return self.talks.replace(
                APP_ID,
                self.tier,
                recipients,
                said.seq,
                notice,
                expected=expected,
                change=change,
                record=record,
                recall=recall,
            )

        assert not self.run(replaced(said.change + 7))
        assert said.change == 0 or not self.run(replaced(said.change - 1))
        done = self.run(self.mortal(lambda: replaced(said.change), cut))
        if said.record is None or said.change >= change:
            assert not done
            return
        said.record, said.change = record, change
        talk.end_notice(said)
        told = talk.add(self.link.run_number, notice.time_ms, False, "", notice.id, notice.record)
        told.ends, said.notice = notice.expires_ms, 0 if recall else told.seq
        self.told_everywhere(talk, told, recipients, cut, (talk.born, talk.lost_up_to))

    def told_everywhere(
        self,
        talk: Talk,
        said: Said | None,
        to: Recipients,
        cut: int | None,
        numbering: tuple[object, int],
    ) -> None:
        """As `told`, where those beside the conversation are told by a call of their own, last."""
        if said is None or not to.here:
            self.told(talk, said, to, cut, numbering)
            return
        here = [member.partition(":")[2] for member in to.here_arguments[::2]]
        away = [u for u in dict.fromkeys(talk.name.split(":")[1:]) if u not in here]
        calls = [[user] for user in away] + [here]
        reached = calls if cut is None else calls[: cut - 1]
        for user in (u for call in reached for u in call):
            peer = self.peer(user, talk.name)
            self.boxes[user].place(talk, peer, said, ALWAYS, numbering, CAP)
        if len(reached) == len(calls):
            self.settles(talk, said.seq, numbering[0])

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def a_message_is_erased(self, data: st.DataObject) -> None:
        _, _, name, entry = data.draw(st.sampled_from(self.sent))
        said = next((s for s in self.model[name].said.values() if s.mid == entry.id), None)
        if said is not None:
            there = said.record is not None
            assert self.run(self.talks.erase(APP_ID, name, [said.seq])) == there
            self.model[name].end(said)

    @rule(data=st.data(), user=users, forget=st.booleans())
    def somebody_reads(self, data: st.DataObject, user: str, forget: bool) -> None:
        box = self.boxes[user]
        if not box.rows:
            return
        peer = data.draw(st.sampled_from(sorted(box.rows)))
        row = box.rows[peer]
        name = peer if peer.startswith("g:") else direct_conversation(user, peer)
        talk = self.model[name]
        seq = data.draw(st.integers(1, row.top + 2))
        if forget:
            found = self.run(self.rows.row(APP_ID, user, peer))
            self.run(self.rows.forget(APP_ID, user, found, seq))
            row.floor = max(row.floor, min(seq, row.top))
            return
        until = talk.intervals.get(user, ALWAYS).until
        raised = self.run(self.talks.mark(APP_ID, name, user, 0, seq, until))
        if raised is None:  # Redis came back older, without it; or its group has long ended
            assert talk.q == 0 or talk.ended
            return
        reached = min(seq, talk.q, until or seq)
        assert raised.read >= reached
        if self.run(self.rows.read_up_to(APP_ID, user, peer, raised)) >= 0:
            row.read = max(row.read, raised.read)

    @rule(seconds=st.sampled_from([0.001, 1, HOUR, DAY, 3 * DAY - 0.001, 3 * DAY]))
    def time_passes(self, seconds: float) -> None:
        self.store.clock.now = round(self.store.clock.now + seconds, 3)

    @rule()
    def gateways_settle(self) -> None:
        self.run(self.talks.fanout.settle(self.now))
        for name, (version, seq, born) in self.settling.items():
            talk = self.model[name]
            same = born is talk.born or seq <= talk.lost_up_to
            if seq <= talk.settled or seq > talk.q or not same:
                continue
            talk.settled = seq
            if version and version == talk.version:
                for user, interval in list(talk.intervals.items()):
                    if 0 < interval.until <= seq:
                        del talk.intervals[user]
        self.settling.clear()
        # Those who went are still in lists that were read before: another gateway has none.
        self.groups = self.a_gateways_groups()

    @rule(heals=st.booleans())
    def the_sweeper_comes(self, heals: bool) -> None:
        """To conversations first; what is owed by a dead gateway it makes good, once that is
        due."""
        retention = self.tier.retention_ms
        for name, talk in self.model.items():
            due = self.due(talk)
            if due is None or due > self.now:
                continue
            swept = self.run(self.talks.sweep(APP_ID, name, self.now, retention, PROFILE_MS))
            assert not swept.more
            talk.sweep(self.now, retention)
            assert swept.owed == (talk.settled < talk.q and talk.gone < talk.q)
            if swept.owed and heals:
                self.it_is_healed(talk)
        for user, box in self.boxes.items():
            self.run(self.inboxes.sweep(APP_ID, user, self.now, retention, PROFILE_MS))
            box.sweep(self.now, retention, SLACK)

    def due(self, talk: Talk) -> int | None:
        keys = self.store.keys.conversation(APP_ID, talk.name)
        score: Any = self.store.raw.zscore(keys.due, keys.member)
        return None if score is None else int(score)

    def it_is_healed(self, talk: Talk) -> None:
        one, _, other = talk.name[2:].partition(":")
        recipients = self.recipients(one, other, talk.name)
        self.run(self.talks.heal(APP_ID, self.tier, recipients))
        last = talk.said.get(talk.q)
        if last is not None:
            silent = replace(last, sender="")
            self.told_everywhere(talk, silent, recipients, None, (talk.born, talk.lost_up_to))

    # -- what Redis loses --------------------------------------------------------------------------

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def a_conversation_is_as_a_backup_has_it(self, data: st.DataObject) -> None:
        """Kept, once; and brought back later, by a server that knows no more of it."""
        name = data.draw(st.sampled_from(sorted(self.model)))
        talk = self.model[name]
        head = self.store.keys.conversation(APP_ID, name).head
        if name.startswith("g:") or talk.ended:
            return
        raw: Any = self.store.raw
        keys = [head.encode(), *raw.scan_iter(f"{head}:*")]
        if name not in self.kept:
            found = {key: raw.dump(key) for key in keys if raw.exists(key)}
            said = {seq: replace(each) for seq, each in talk.said.items()}
            self.kept[name] = replace(talk, said=said), found
            return
        earlier, dumps = self.kept.pop(name)
        for key in keys:
            raw.delete(key)
        for key, dump in dumps.items():
            raw.restore(key, 0, dump)
        # The due list lies beside the head and is as old.
        places = self.store.keys.conversation(APP_ID, name)
        raw.zadd(places.due, {places.member: self.now})
        forgotten = {s.mid for seq, s in talk.said.items() if seq > earlier.q}
        forgotten |= self.all_sent(name) - {s.mid for s in earlier.said.values()}
        for mid in forgotten:
            bucket = self.store.keys.conversation(APP_ID, name).bucket
            raw.delete(self.store.keys.sent(bucket, mid))
        self.all_sent(name).difference_update(forgotten)
        self.sent = [each for each in self.sent if each[3].id not in forgotten]
        self.model[name] = earlier
        self.link.run_number += 1
        self.it_took_a_while()
        for user, box in self.boxes.items():
            row = box.rows.get(self.peer(user, name)) if user in name.split(":") else None
            if row is not None and row.top > earlier.q:
                row.behind = True  # until the next message says so, rows count what is lost

    def it_took_a_while(self) -> None:
        """Until a Redis that lost something serves again: else two messages could have one time."""
        self.store.clock.now = round(self.store.clock.now + CLOCKS_MS / 1000 + 0.001, 3)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), due=st.booleans())
    def a_conversation_loses_its_head(self, data: st.DataObject, due: bool) -> None:
        """And with it what says that it was there, or not."""
        name = data.draw(st.sampled_from(sorted(self.model)))
        talk, raw = self.model[name], self.store.raw
        keys = self.store.keys.conversation(APP_ID, name)
        if talk.ended or not raw.delete(keys.head):
            return
        if due:
            raw.zrem(keys.due, keys.member)
        self.all_sent(name).clear()
        self.kept.pop(name, None)
        for user, box in self.boxes.items():
            row = box.rows.get(self.peer(user, name))
            if row is not None and (talk.version or user in name.split(":")):
                row.behind = True  # until the next message says so, rows count what is lost
        talk.lose()
        self.it_took_a_while()
        if talk.version:
            assert self.group(name[2:]) is not None  # to read it begins another numbering
            talk.run, talk.version = self.link.run_number, talk.version + 1
            talk.intervals = dict.fromkeys(talk.members(), ALWAYS)

    @rule(user=users)
    def an_inbox_loses_its_list(self, user: str) -> None:
        """What it referred to is lost, and the numbers go on."""
        self.store.raw.delete(self.store.keys.inbox(APP_ID, user).refs)
        box = self.boxes[user]
        box.base, box.told, box.spent = box.top if box.hashed else 0, [], 0

    @rule(user=users)
    def an_inbox_loses_its_hash(self, user: str) -> None:
        """What the list still has is numbered anew, and what is kept is told again."""
        self.store.raw.delete(self.store.keys.inbox(APP_ID, user).rows)
        box = self.boxes[user]
        box.base, box.rows, box.hashed = 0, {}, False
        box.since, box.spent, box.flood = {}, 0, ""

    # -- what is always so -------------------------------------------------------------------------

    @invariant()
    def history_is_what_was_said(self) -> None:
        for name, talk in self.model.items():
            page = self.run(self.talks.page(APP_ID, self.tier, name, self.now, 200, after=0))
            assert [(m.seq, m.record, m.change) for m in page.messages] == [
                (s.seq, s.record, s.change)
                for s in talk.said.values()
                if s.readable(self.now, self.tier.retention_ms)
            ]
            assert page.lost == 0

    @invariant()
    def inboxes_tell_what_they_should(self) -> None:
        for user, box in self.boxes.items():
            page = self.run(self.inboxes.page(APP_ID, user, 0))
            found = [(r.number, r.peer, r.seq, r.hole) for r in page.references]
            assert found == [
                (number, t.peer, t.seq, t.hole) for number, t in enumerate(box.told, box.base + 1)
            ], "\n".join(map(repr, [user, found, box.told, box.base, *self.model.values()]))
            waiting = self.run(
                self.inboxes.messages(APP_ID, self.tier, user, page.references, self.now)
            )
            assert [w.message and w.message.record for w in waiting] == [
                self.shown(user, told) for told in box.told
            ]

    def shown(self, user: str, told: Told) -> bytes | None:
        """The message that a reference was made for, whatever has its number by now."""
        peer = told.peer
        if not peer:
            return None
        name = peer if peer.startswith("g:") else direct_conversation(user, peer)
        said = self.model[name].said.get(told.seq)
        if said is None or said.which is not told.which:
            return None
        return said.record if said.readable(self.now, self.tier.retention_ms) else None

    @invariant()
    def nobody_outside_is_told(self) -> None:
        """A reference to a group is to what lies within one of its user's intervals."""
        for user, box in self.boxes.items():
            for peer, row in box.rows.items():
                talk = self.model.get(peer, Talk(""))
                interval = talk.intervals.get(user)
                if interval is not None and interval.until and row.born is talk.born:
                    assert row.top <= interval.until

    @invariant()
    def unread_is_exact(self) -> None:
        for user, box in self.boxes.items():
            counting = self.rows.unread(
                APP_ID, self.tier, user, self.now, 100, lambda messages: None
            )
            found, _ = self.run(counting)
            for peer, row in box.rows.items():
                if not row.behind:
                    wanted = self.unread(user, peer, row)
                    assert found.get(peer, 0) == wanted, repr((user, peer, row, self.model))

    def unread(self, user: str, peer: str, row: Known) -> int:
        name = peer if peer.startswith("g:") else direct_conversation(user, peer)
        return sum(
            s.counts
            and s.sender != user
            and max(row.read, row.since) < s.seq <= row.top
            and s.time + self.tier.retention_ms > self.now
            for s in self.model[name].said.values()
        )

    @invariant()
    def what_is_owed_is_looked_after(self) -> None:
        for talk in self.model.values():
            if talk.settled < talk.q and talk.gone < talk.q:
                due = self.due(talk)
                assert due is not None
                assert due <= self.now + TAKEOVER_MS + self.tier.retention_ms


def walk(url: str, machine: type[Conversations], **options: Any) -> None:
    """Let things happen to a real store and to the model. `options` are Hypothesis' settings.

    Every tier's inbox is small meanwhile, for whoever stores into one: notices of groups, too.
    """
    small = {name: replace(tier, inbox_cap=CAP) for name, tier in TIERS.items()}
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(TIERS, small):
        machine.url = url
        machine.keyring = Keyring.create(Path(folder) / "keys.json", "sg")
        run_state_machine_as_test(
            machine,
            settings=settings(
                stateful_step_count=50,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                **options,
            ),
        )


def test_conversations_and_inboxes_agree_with_the_model(store_url: str) -> None:
    """G1, G2, G3, G4, G5, G11."""
    # The same walks each time: what is found by chance is `make soak`'s.
    walk(store_url, Conversations, max_examples=6, derandomize=True, phases=[Phase.generate])
