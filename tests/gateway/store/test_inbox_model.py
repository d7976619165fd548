"""Inboxes, groups, recall and edit against a model in plain Python: whatever happens, in whatever
order, they agree. What else happens is in `tests.gateway.store.machine`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from homeport.limits import MAX_EDITS
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from gateway.apps.tiers import TIERS
from gateway.chat.recalls import RECALLED
from gateway.security.keyring import Keyring
from gateway.store.keys import bucket_of
from gateway.store.replacing import Changed, RewriteStore
from tests.gateway.store.conftest import APP_ID
from tests.gateway.store.machine import USERS, Machine
from tests.gateway.store.model import CAP, Sent


class Changing(Machine):
    """Messages are also recalled and edited, by gateways of which some die on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.store.raw.config_set("rdbcompression", "no")  # so that a dump shows all bytes
        self.replacing = RewriteStore(self.store.link, self.store.keys)
        self.forgotten: set[tuple[str, bytes]] = set()
        """What must not be in the bytes of somebody's inbox any more."""

    @rule(data=st.data(), recalls=st.lists(st.booleans(), max_size=2), repeated=st.booleans())
    def a_gateway_dies_while_it_sends(
        self, data: st.DataObject, recalls: list[bool], repeated: bool
    ) -> None:
        """One bucket has the message, another one has not; it may be recalled as it is."""
        users, record = [USERS[0], USERS[2]], self.record()
        self.run(self.arrive({USERS[0]}, record))
        self.inboxes[USERS[0]].receive(record, self.now)
        sent = Sent(users, self.now, record, missed=[USERS[2]])
        self.sent.append(sent)
        for dies in recalls:
            self.it_is_asked(data, sent, recall=True, dies=dies)
        if repeated:
            self.it_is_repeated(sent)

    @precondition(lambda self: any(not sent.group for sent in self.sent))
    @rule(data=st.data())
    def a_send_is_repeated(self, data: st.DataObject) -> None:
        direct = [sent for sent in self.sent if not sent.group]
        self.it_is_repeated(data.draw(st.sampled_from([s for s in direct if s.missed] or direct)))

    def it_is_repeated(self, sent: Sent) -> None:
        """Who missed it gets it, but for what was recalled meanwhile."""
        self.run(self.arrive(set(sent.users), sent.record))
        for user in sent.missed:
            self.inboxes[user].receive(sent.record, self.now)
        sent.missed.clear()

    @precondition(lambda self: self.sent)
    @rule(
        data=st.data(),
        changes=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=4),
    )
    def a_message_is_changed(self, data: st.DataObject, changes: list[tuple[bool, bool]]) -> None:
        """Edited or recalled, a few times, most telling where somebody holds it still and somebody
        else has done with it.
        """
        held = {u: [s for s in self.sent if s.within(self.inboxes[u])] for u in USERS}
        some = [s for s in self.sent if any(s in held[u] for u in USERS)]
        apart = [s for s in some if any(s not in held[u] for u in s.users)]
        sent = data.draw(st.sampled_from(apart or some or self.sent))
        for recall, dies in changes:
            self.it_is_asked(data, sent, recall, dies)

    def it_is_asked(self, data: st.DataObject, sent: Sent, recall: bool, dies: bool) -> None:
        """By its sender, or to recall it by somebody else in the group; of a gateway that may die
        on the way. What was recalled is recalled again, which does what such a one left undone.
        """
        recall = recall or bool(sent.missed)  # who edits it has had the answer to the send
        users = looked_into = sent.users
        audience, version = self.store.inboxes.audience(APP_ID, users), ""
        if sent.group:
            group = self.settle(sent.group, 0)
            users, audience, version = sorted(group.members), group.audience, str(group.version)
            # Its sender changes it, or an admin recalls it: each looks into their own inbox.
            looked_into = [data.draw(st.sampled_from(users if recall else sent.users[:1]))]
            if looked_into[0] not in users:  # refused
                return
        found = self.run(self.find(sent, looked_into))
        there = [m for user in looked_into if (m := self.readable(sent, user))]
        assert (found and found.entry.record) == (there[0].record if there else None)
        if not there or (there[0].number >= MAX_EDITS and not recall):
            return
        before = there[0]
        if before.number < RECALLED:
            number = RECALLED if recall else before.number + 1
            record = sent.record[:16] + self.record()
            changed = Changed(sent.record[:16], sent.time, record, number, number == RECALLED)
            assert not self.run(self.replacing.swap(found.where, changed, before.number + 1))
            assert self.run(self.replacing.swap(found.where, changed, before.number))
            before.record, before.number = record, number
            sent.records.setdefault(number, set()).add(record)
        elif recall:
            changed = Changed(sent.record[:16], sent.time, before.record, RECALLED, final=True)
        else:
            return
        if not dies:
            self.run(self.replacing.spread(APP_ID, self.talk(sent), audience, changed))
            self.it_is_changed(sent, users, changed)
            notice = sent.notices.setdefault(changed.number, self.record())
            self.run(self.deliver(audience, notice, version))
            self.it_is_told(sent, users, changed.number)

    def talk(self, sent: Sent) -> str:
        return f"g:{sent.group}" if sent.group else "d:" + ":".join(sent.users)

    async def find(self, sent: Sent, users: list[str]) -> Any:
        app, mid = self.store.app, sent.record[:16]
        return await self.replacing.find(app, self.talk(sent), users, mid, sent.time, self.now)

    def readable(self, sent: Sent, user: str) -> Any:
        inbox = self.inboxes[user]
        message = sent.within(inbox)
        return message if message in inbox.readable(self.now, self.retention) else None

    def it_is_changed(self, sent: Sent, users: list[str], changed: Changed) -> None:
        sent.records.setdefault(0, set()).add(sent.record)
        if changed.final:  # what was half sent does not come any more
            sent.missed.clear()
        for user in users:
            message = sent.within(self.inboxes[user])
            if message is not None and message.number < changed.number:
                message.record, message.number = changed.record, changed.number
            self.forgotten |= {
                (user, record)
                for number, records in sent.records.items()
                for record in records
                if number < changed.number
            }

    def it_is_told(self, sent: Sent, users: list[str], number: int) -> None:
        """Once to each bucket, whoever is in it: a message id is stored once there."""
        buckets = {user: (number, bucket_of(APP_ID, user)) for user in users}
        for user, bucket in buckets.items():
            if bucket not in sent.told:
                self.inboxes[user].receive(sent.notices[number], self.now)
        sent.told |= set(buckets.values())

    @invariant()
    def what_was_recalled_or_edited_is_gone(self) -> None:
        dumps: Any = {
            user: self.store.raw.dump(self.store.keys.user(APP_ID, user).inbox)
            for user, _ in self.forgotten
        }
        assert [user for user, old in self.forgotten if old in (dumps[user] or b"")] == []


def walk(store_url: str, machine: type[Changing], **options: Any) -> None:
    """Let things happen to a real store and to the model. `options` are Hypothesis' settings.

    Every tier's inbox is small meanwhile, for whoever stores into one: notices, too.
    """
    small = {name: replace(tier, inbox_cap=CAP) for name, tier in TIERS.items()}
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(TIERS, small):
        machine.url = store_url
        machine.keyring = Keyring.create(Path(folder) / "keys.json", "sg")
        run_state_machine_as_test(
            machine,
            settings=settings(
                stateful_step_count=60,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                **options,
            ),
        )


def test_inboxes_groups_and_changes_agree_with_the_model(store_url: str) -> None:
    """HP-11.2-1, HP-11.2-2, HP-11.2-6, HP-11.3-2, G2, G3, G4, G5.

    HP-7.2-1, HP-7.2-4, HP-7.2-6, HP-7.2-7, HP-7.3-1, HP-7.4-1, HP-7.4-2,
    HP-13.4-1, HP-13.4-2, HP-13.4-7, HP-13.4-8, HP-13.4-9.
    """
    # The same walks each time: what is found by chance is `make soak`'s. To shrink takes minutes.
    walk(store_url, Changing, max_examples=15, derandomize=True, phases=[Phase.generate])


def test_the_models_tiers_are_far_enough_apart() -> None:
    """The steps of time in the machine cross the shortest two tiers' times."""
    assert TIERS["free"].retention_ms == 3 * 86_400_000
    assert TIERS["basic"].retention_ms == 7 * 86_400_000
