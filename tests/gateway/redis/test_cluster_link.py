"""A slot's commands while nodes refuse them: nothing is lost, and nothing overtakes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.redis import cluster_link as module
from gateway.redis.cluster import Cluster, ClusterNode
from gateway.redis.cluster_link import ClusterLink
from gateway.redis.errors import CommandFault, Redirected, Unavailable
from gateway.redis.link import Then
from gateway.redis.member_link import MemberLink
from gateway.redis.slots import BUCKET_SLOTS, SLOTS, Claim, Node
from gateway.redis.url import RedisUrl
from gateway.store.stamp import RegionIdentity
from gateway.tasks import Tasks
from tests.gateway.redis.conftest import beginning, until

A, B = (Node(name * 40, "10.0.0.1", port) for name, port in (("a", 1), ("b", 2)))


class Member:
    """A node that answers when the test says so. `sent` are commands, `asked` those after ASKING"""

    def __init__(self) -> None:
        self.up = True
        self.queued = 0
        self.refused = None
        self.failure = None
        self.sent: list[bytes] = []
        self.asked: list[bytes] = []
        self.thens: list[Then] = []

    async def start(self) -> None:
        """As `Link.start`."""

    def run_packed(self, then: Then, command: bytes, _bucket: int, *, durable: bool) -> None:
        """As `Link.run_packed`."""
        assert durable
        self.sent.append(command)
        self.thens.append(then)

    def run_asking(self, then: Then, command: bytes, durable: bool) -> None:
        """As `MemberLink.run_asking`."""
        self.asked.append(command)
        self.run_packed(then, command, 0, durable=durable)

    def answer(self, *replies: Any) -> None:
        """Answer the next ones, in their order."""
        for reply in replies:
            self.thens.pop(0)(reply)


class Setting:
    """A cluster of two, of which A has all slots, and the answers that callers got."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.redis.cluster_link.MemberLink", self._member)
        self.cluster = Cluster(RedisUrl.parse("redis+cluster://a"), Tasks())
        self.a, self.b = Member(), Member()
        self.link = ClusterLink(self.cluster, beginning(RegionIdentity("sg", {})))
        # B has to be known, and has one slot that is no bucket's.
        self.learn(Claim(A, 1, ((1, SLOTS - 1),)), Claim(B, 2, ((0, 0),)))
        self.answers: list[Any] = []

    def _member(self, server: ClusterNode, *_: Any) -> MemberLink:
        return cast("MemberLink", {A: self.a, B: self.b}[server.node])

    def learn(self, *claims: Claim) -> None:
        """Take what a node says of the slots."""
        assert self.cluster.map.merge(list(claims))
        for changed in self.cluster.on_change:
            changed()

    def send(self, *commands: bytes) -> None:
        """Send to bucket 0."""
        for command in commands:
            self.link.run_packed(self.answers.append, command, 0, durable=True)


def moved(ask: bool = False) -> Redirected:
    """The slot is at B."""
    return Redirected(BUCKET_SLOTS[0], B.host, B.port, ask)


def later() -> Unavailable:
    """The slot is between two nodes."""
    return Unavailable("tryagain")


async def test_what_comes_back_waits_for_what_is_still_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G3: the first is not sent again before the last has been answered, and new ones wait."""
    setting = Setting(monkeypatch)
    setting.send(b"1", b"2", b"3")
    setting.a.answer(moved())
    setting.send(b"4")
    assert (setting.a.sent, setting.b.sent) == ([b"1", b"2", b"3"], [])
    setting.a.answer(moved(), moved())
    assert setting.b.sent == [b"1"]
    setting.b.answer("one")
    assert setting.b.sent == [b"1", b"2", b"3", b"4"]
    setting.b.answer("two", "three", "four")
    setting.send(b"5")
    assert setting.b.sent[4:] == [b"5"]
    assert setting.answers == ["one", "two", "three", "four"]
    assert setting.link.queued == 0


async def test_the_first_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """G3: a node that is just getting the slot refused one message and stored the next one, of the
    same sender, because both were sent again together: they stood in another order for ever."""
    setting = Setting(monkeypatch)
    setting.send(b"1", b"2")
    setting.a.answer(later(), later())
    for _ in range(3):
        await until(lambda: len(setting.a.sent) > 2)
        assert setting.a.sent.pop() == b"1"
        setting.a.answer(later())
    await until(lambda: len(setting.a.sent) > 2)
    setting.a.answer("one")
    assert setting.a.sent[2:] == [b"1", b"2"]
    setting.a.answer("two")
    assert setting.answers == ["one", "two"]


async def test_ask_is_for_one_command_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis Cluster specification, "ASK redirection": the next one goes to the old node again."""
    setting = Setting(monkeypatch)
    setting.send(b"1", b"2")
    setting.a.answer(moved(ask=True), moved(ask=True))
    assert setting.b.asked == [b"1"]
    setting.b.answer("one")
    assert (setting.b.sent, setting.a.sent[2:]) == ([b"1"], [b"2"])


async def test_it_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """HP-7.1-6: a caller is told that it is unavailable, and the next ones are tried."""
    setting = Setting(monkeypatch)
    monkeypatch.setattr(module, "HOLD_S", 0.0)
    setting.send(b"1")
    setting.a.answer(later())
    monkeypatch.undo()
    setting.send(b"2")
    await until(lambda: setting.a.sent[1:] == [b"2"])
    setting.a.answer("two")
    first, second = setting.answers
    assert (first.reason, second) == ("tryagain", "two")


async def test_all_that_wait_are_given_up_in_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """HP-7.1-6: each had `HOLD_S` of its own, one after the other, so the hundredth command of a
    slot that stayed away was answered after five minutes."""
    monkeypatch.setattr(module, "HOLD_S", 0.0)
    setting = Setting(monkeypatch)
    setting.send(b"0")
    setting.a.answer(later())
    setting.send(*(b"%d" % number for number in range(1, 100)))
    await until(lambda: len(setting.answers) == 100)
    assert {answer.reason for answer in setting.answers} == {"tryagain", "clusterdown"}
    assert (setting.a.sent, setting.link.queued) == ([b"0"], 0)
    setting.send(b"100")
    assert setting.a.sent == [b"0", b"100"]


async def test_a_new_map_lets_nothing_overtake_what_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G3: the map showed the next owner before the old one had refused what it had been asked; a
    later message went straight to the new owner, and stood before the earlier one for ever."""
    setting = Setting(monkeypatch)
    setting.send(b"1")
    setting.learn(Claim(A, 3, ((0, 0),)), Claim(B, 4, ((1, SLOTS - 1),)))
    setting.send(b"2")
    assert setting.b.sent == []
    setting.a.answer(moved())
    assert setting.b.sent == [b"1"]
    setting.b.answer("one")
    assert setting.b.sent == [b"1", b"2"]


async def test_what_is_sent_again_goes_in_the_order_of_asking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G3: the answers to durable commands wait for replicas, so those of others come before."""
    setting = Setting(monkeypatch)
    setting.send(b"1", b"2", b"3")
    first, second, third = setting.a.thens
    for then in (third, first, second):
        then(moved())
    setting.b.answer("one")
    assert setting.b.sent == [b"1", b"2", b"3"]


async def test_what_waits_fails_with_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """G1, G10: whoever waits for a node that goes away is told so, once, and in order."""
    setting = Setting(monkeypatch)
    setting.send(b"1", b"2")
    setting.a.answer(later(), later())
    setting.send(b"3")
    setting.a.up = False
    await until(lambda: len(setting.answers) == 3)
    assert {answer.reason for answer in setting.answers} == {"not_connected"}
    assert setting.link.queued == 0
    setting.a.up = True
    setting.send(b"4")
    assert setting.a.sent[2:] == [b"4"]


async def test_waiting_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """G9: past the limit callers are told that it is busy."""
    monkeypatch.setattr(module, "MAX_PENDING", 2)
    setting = Setting(monkeypatch)
    setting.send(b"1")
    setting.a.answer(later())
    setting.send(b"2", b"3")
    assert [answer.reason for answer in setting.answers] == ["busy"]


async def test_other_errors_are_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is no redirection."""
    setting = Setting(monkeypatch)
    setting.send(b"1", b"2")
    setting.a.answer(CommandFault("ERR"), "two")
    assert [str(answer) for answer in setting.answers] == ["Redis refused a command: ERR", "two"]
