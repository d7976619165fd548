"""What conversations, inboxes and rows must be like, in plain Python.

It knows nothing of chunks, packed values, dedupe keys or due lists. A conversation is a list of
messages; an inbox is a list of what was told to its user, in order; a row is what a user knows of
one
conversation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.store.recipients import Interval

NO_RUN = -1
"""The run of a numbering that has not begun."""


@dataclass
class Said:
    """One message. `n` counts it where it counts as unread; `record` is None once it has ended.

    `notice` is the number of the notice of its last edit, 0 where there is none.
    """

    seq: int
    time: int
    n: int
    counts: bool
    sender: str
    mid: bytes
    record: bytes | None
    change: int = 0
    ends: int | None = None
    notice: int = 0
    which: object = field(default_factory=object)
    """What no other message has, neither one with the same number later on."""

    def readable(self, now: int, retention: int) -> bool:
        """Whether anybody is shown it."""
        ended = self.ends is not None and self.ends <= now
        return self.record is not None and self.time + retention > now and not ended


@dataclass
class Talk:
    """A conversation. `lost_up_to` is the last number of the numbering before, `gone` the last that
    is kept no more, `born` names the numbering."""

    name: str
    said: dict[int, Said] = field(default_factory=dict)
    q: int = 0
    n: int = 0
    gone: int = 0
    born: object = field(default_factory=object)
    lost_up_to: int = 0
    run: int = 0
    settled: int = 0
    # Of a group:
    version: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)
    ended: bool = False

    def end(self, said: Said) -> None:
        """A message ends, and with it the notice of its edit."""
        said.record = None
        self.end_notice(said)

    def end_notice(self, said: Said) -> None:
        """What an earlier edit of a message said ends."""
        if (notice := self.said.get(said.notice)) is not None:
            notice.record = None
        said.notice = 0

    def members(self) -> set[str]:
        """Who is in it now."""
        return {user for user, interval in self.intervals.items() if interval.until == 0}

    def noticing(self, run: int) -> tuple[object, int]:
        """The numbering that a script goes by that comes from run `run` of the server."""
        return (self.born, self.lost_up_to) if run == self.run else (object(), self.q)

    def add(
        self, run: int, time: int, counts: bool, sender: str, mid: bytes, record: bytes
    ) -> Said:
        """One more message."""
        self.born, self.lost_up_to = self.noticing(run)
        self.run = run
        self.q += 1
        self.n += counts
        said = Said(self.q, time, self.n, counts, sender, mid, record)
        self.said[self.q] = said
        return said

    def lose(self) -> None:
        """The conversation loses all that it has, and its numbering."""
        self.said.clear()
        self.q = self.n = self.gone = self.settled = self.lost_up_to = 0
        self.born, self.run = object(), NO_RUN

    def sweep(self, now: int, retention: int) -> None:
        """What is past its time goes, from the oldest to the first that is not."""
        while self.gone < self.q:
            first = self.said.get(self.gone + 1)
            if first is not None and first.time + retention > now:
                return
            self.said.pop(self.gone + 1, None)
            self.gone += 1
            self.settled = max(self.settled, self.gone)


@dataclass
class Told:
    """What an inbox says under one number: message `seq` of `peer`, or a hole after it. Without a
    `peer` it was dropped. `which` is `Said.which` of the message that it was told of then."""

    peer: str
    seq: int
    time: int
    hole: bool = False
    which: object = None


@dataclass
class Known:
    """A row. `behind` is True from when a conversation lost what its row still counts until the
    next message says so."""

    top: int
    time: int
    born: object
    read: int = 0
    floor: int = 0
    since: int = 0
    until: int = 0
    behind: bool = False


@dataclass
class Box:
    """One user's inbox: `told` from number `base` + 1 on."""

    user: str
    told: list[Told] = field(default_factory=list)
    base: int = 0
    rows: dict[str, Known] = field(default_factory=dict)
    hashed: bool = False
    """Whether there is a hash beside the list, which knows where the numbers begin."""
    since: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of conversations that grew since the inbox was half full: from which number of the inbox on,
    and from which of the conversation on, it has all there is."""
    spent: int = 0
    """How many of `told` are known to have been dropped."""
    flood: str = ""
    """The last conversation that had too much."""

    @property
    def top(self) -> int:
        """The last number."""
        return self.base + len(self.told)

    def place(
        self,
        talk: Talk,
        peer: str,
        said: Said,
        interval: Interval,
        numbering: tuple[object, int],
        cap: int,
    ) -> None:
        """A script tells the user of `said`, and of all that is missing below it."""
        born, lost_up_to = numbering
        last = min(said.seq, interval.until or said.seq)
        lower, row = max(talk.gone, interval.since), self.rows.get(peer)
        known = Known(0, said.time, born, since=interval.since, until=interval.until)
        hole: int | None = None
        if row is not None:
            known.read, known.floor = row.read, row.floor
            top = row.top
            if row.born is not born and top > lost_up_to:
                hole = top = lost_up_to
            known.read, known.floor = min(row.read, top), min(row.floor, top)
            if hole is None:
                known.read, known.floor = row.read, row.floor
            if top >= interval.since:
                lower = max(top, talk.gone)
        if last <= lower and hole is None:
            return
        if hole is not None:
            self.told.append(Told(peer, hole, said.time, hole=True))
        for seq in range(lower + 1, last + 1):
            self.told.append(Told(peer, seq, said.time, which=talk.said[seq].which))
        known.top = max(last, lower)
        self.rows[peer] = known
        self.hashed = True
        self.shed(peer, said.seq, cap)

    def shed(self, peer: str, seq: int, cap: int) -> None:
        """Conversation `peer` grew: a full inbox drops what there is too much of."""
        if 2 * len(self.told) <= cap:
            return
        at, first = self.since.get(peer, (0, 0))
        if not self.base < at <= self.top:
            at, first = self.since[peer] = self.top, seq
        over = len(self.told) - self.spent - cap
        if over <= 0:
            return
        if (seq - first) * 10 > cap:
            self.flood = peer
        elif self.flood in self.since and self.flood in self.rows:
            its_at, its_first = self.since[self.flood]
            top = self.rows[self.flood].top
            if self.base < its_at <= self.top and (top - its_first) * 10 > cap:
                peer, at, first, seq = self.flood, its_at, its_first, top
        while over > 0:
            own = None
            if self.told[0].peer not in (peer, "") and (seq - first) * 10 > cap:
                later = range(at - self.base - 1, len(self.told))
                own = next(
                    (n for n in later if self.told[n].peer == peer and not self.told[n].hole), None
                )
                at = self.top + 1 if own is None else self.base + own + 2
            if own is not None:
                dropped = self.told[own]
                first = dropped.seq + 1
                self.told[own] = Told("", dropped.seq, dropped.time)
                self.spent += 1
                over -= 1
            else:
                over -= bool(self.told[0].peer)
                self.pop()
        self.since[peer] = at, first

    def pop(self) -> None:
        """The oldest goes."""
        self.spent = max(0, self.spent - (not self.told.pop(0).peer))
        self.base += self.hashed

    def sweep(self, now: int, retention: int, slack: int) -> None:
        """What is past its time goes, and rows an hour later, but for those of a group that the
        user is in."""
        while self.told and self.told[0].time + retention <= now:
            self.pop()
        for peer, row in list(self.rows.items()):
            inside = peer.startswith("g:") and row.until == 0
            if row.time + retention + slack <= now and not inside:
                del self.rows[peer]
