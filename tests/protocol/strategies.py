"""Strategies for every frame of protocol v1, within the bounds of SPEC.md section 4.6."""

from __future__ import annotations

from typing import Any

from homeport import codec
from homeport.frames import (
    Accepted,
    Ack,
    Block,
    BlockList,
    Blocks,
    ClientFrame,
    Connect,
    Connected,
    ConversationPage,
    ConversationRow,
    Conversations,
    Cursor,
    Edit,
    Entry,
    Error,
    Expiring,
    Extra,
    Forget,
    Goaway,
    GroupAdd,
    GroupAdded,
    GroupCreate,
    GroupCreated,
    GroupDelete,
    GroupGet,
    GroupJoin,
    GroupLeave,
    GroupList,
    GroupMember,
    GroupMute,
    GroupPage,
    GroupRemove,
    GroupRename,
    GroupRole,
    GroupView,
    History,
    HistoryPage,
    Limits,
    Lost,
    Mark,
    Message,
    Ok,
    Options,
    Ping,
    Pong,
    Presence,
    PresenceGet,
    PresenceList,
    PresenceSet,
    PresenceSubscribe,
    PresenceUnsubscribe,
    Push,
    Reach,
    Recall,
    Receipt,
    Receipts,
    Renew,
    Renewed,
    Reset,
    RoomJoin,
    RoomJoined,
    RoomLeave,
    RoomPush,
    RoomSend,
    RoomSet,
    RoomState,
    Send,
    ServerFrame,
    Signal,
    Signaled,
    Transient,
    Unblock,
    Unread,
    UnreadCounts,
    UserPresence,
)
from hypothesis import strategies as st
from msgspec import Raw

request_ids = st.integers(1, 2**32 - 1)
counts = st.integers(0, 2**53 - 1)
seqs = st.integers(1, 2**53 - 1)
seconds = st.floats(0, 2**53 - 1)
ids = st.text(min_size=1, max_size=64)
group_ids = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
roles = st.sampled_from(["owner", "admin", "member"])
group_infos = st.builds(
    GroupView,
    group_ids,
    counts,
    st.text(),
    roles,
    st.booleans(),
    counts,
    st.lists(st.builds(GroupMember, st.text(), roles, st.booleans()), max_size=3),
    st.booleans(),
)

cursors = st.builds(Cursor, st.text(max_size=32), counts, counts)
limits = st.builds(Limits, counts, counts, counts)
message_ids = st.binary(min_size=16, max_size=16)
options = st.builds(
    Options,
    st.lists(st.text(min_size=1, max_size=64), max_size=50).map(tuple),
    st.none() | seqs,
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(1, 2**32 - 1),
)
extras = st.builds(
    Extra,
    st.lists(st.text()).map(tuple),
    st.none() | seqs,
    st.none() | counts,
    counts,
    st.none() | counts,
)
messages = st.builds(
    Message,
    message_ids,
    st.text(),
    st.text(),
    counts,
    st.text(),
    st.binary(max_size=2000),
    st.none() | extras,
)
entries = st.builds(Entry, counts, messages)
row_places = st.none() | st.tuples(counts, st.text(min_size=1, max_size=128))
conversation_rows = st.builds(
    ConversationRow, st.text(), counts, counts, counts, counts, counts, st.none() | messages
)
presence_users = st.lists(ids, min_size=1, max_size=100).map(tuple)
presence_states = st.sampled_from(["online", "away", "offline"])

client_frames: st.SearchStrategy[ClientFrame] = st.one_of(
    st.builds(
        Connect,
        request_ids,
        st.text(min_size=1, max_size=64),
        st.none() | st.text(),
        st.none() | cursors,
        st.text(max_size=128),
        st.text(max_size=32),
    ),
    st.builds(
        Send,
        request_ids,
        st.text(min_size=1, max_size=64),
        st.text(min_size=1, max_size=128),
        st.text(min_size=1, max_size=32),
        st.binary(max_size=2000),
        st.none() | options,
    ),
    st.builds(
        History,
        request_ids,
        st.text(min_size=1, max_size=128),
        st.integers(1, 100),
        st.none() | counts,
        st.none() | counts,
    ),
    st.builds(Forget, request_ids, st.text(min_size=1, max_size=128), counts),
    st.builds(Recall, request_ids, st.text(min_size=1, max_size=128), counts),
    st.builds(
        Edit,
        request_ids,
        st.text(min_size=1, max_size=128),
        counts,
        st.binary(max_size=2000),
    ),
    st.builds(Conversations, request_ids, st.integers(1, 100), row_places),
    st.builds(Ack, counts),
    st.builds(Mark, request_ids, st.text(min_size=1, max_size=128), counts, counts),
    st.builds(Receipts, request_ids, st.text(min_size=1, max_size=128), counts),
    st.builds(Unread, request_ids),
    st.builds(Renew, request_ids, st.text()),
    st.builds(
        GroupCreate, request_ids, ids, st.text(min_size=1, max_size=128), st.lists(ids, max_size=9)
    ),
    st.builds(GroupRename, request_ids, group_ids, st.text(min_size=1, max_size=128)),
    st.builds(GroupDelete, request_ids, group_ids),
    st.builds(GroupAdd, request_ids, group_ids, st.lists(ids, max_size=9)),
    st.builds(GroupRemove, request_ids, group_ids, st.lists(ids, max_size=9)),
    st.builds(GroupLeave, request_ids, group_ids),
    st.builds(GroupJoin, request_ids, group_ids),
    st.builds(GroupRole, request_ids, group_ids, ids, roles),
    st.builds(GroupMute, request_ids, group_ids, st.booleans(), st.none() | ids),
    st.builds(GroupGet, request_ids, group_ids, st.text(max_size=64)),
    st.builds(GroupList, request_ids, st.text(max_size=64)),
    st.builds(Block, request_ids, st.text(min_size=1, max_size=64)),
    st.builds(Unblock, request_ids, st.text(min_size=1, max_size=64)),
    st.builds(Blocks, request_ids),
    st.just(Ping()),
    st.just(Pong()),
    st.builds(
        RoomJoin,
        request_ids,
        st.text(min_size=1, max_size=64),
        st.integers(0, 200),
        st.text(max_size=32),
        counts,
    ),
    st.builds(RoomLeave, request_ids, st.text(min_size=1, max_size=64)),
    st.builds(
        RoomSet,
        request_ids,
        st.text(min_size=1, max_size=64),
        st.sampled_from(["everyone", "admins"]),
        st.lists(ids, max_size=100).map(tuple),
    ),
    st.builds(
        RoomSend,
        request_ids,
        st.text(min_size=1, max_size=64),
        st.text(min_size=1, max_size=128),
        st.text(min_size=1, max_size=32),
        st.binary(max_size=2000),
        st.integers(0, 2),
    ),
    st.builds(
        Signal,
        st.text(min_size=1, max_size=128),
        st.text(min_size=1, max_size=32),
        st.binary(max_size=2000),
    ),
    st.builds(
        PresenceSet,
        request_ids,
        st.sampled_from(["online", "away"]),
        st.none() | st.text(max_size=128),
    ),
    st.builds(PresenceSubscribe, request_ids, presence_users, st.integers(1, 86_400)),
    st.builds(PresenceUnsubscribe, request_ids, presence_users),
    st.builds(PresenceGet, request_ids, presence_users),
)

answers: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.builds(Accepted, message_ids, counts, counts),
    st.builds(Renewed, counts),
    st.builds(GroupCreated, group_ids),
    st.builds(GroupAdded, st.lists(st.text()), st.lists(st.text())),
    group_infos,
    st.builds(GroupPage, st.lists(group_infos, max_size=3), st.none() | st.text()),
    st.builds(BlockList, st.lists(st.text()).map(tuple)),
    st.builds(RoomJoined, st.text(), counts, counts),
    st.builds(HistoryPage, st.lists(entries, max_size=3).map(tuple), st.none() | counts, counts),
    st.builds(ConversationPage, st.lists(conversation_rows, max_size=3).map(tuple), row_places),
    st.builds(
        PresenceList,
        st.lists(
            st.builds(UserPresence, st.text(), presence_states, st.text(), counts), max_size=3
        ).map(tuple),
    ),
    st.builds(
        Reach,
        st.lists(st.tuples(st.text(), counts, counts)),
        st.tuples(counts, counts, counts),
    ),
    st.builds(UnreadCounts, st.lists(st.tuples(st.text(), counts)), st.booleans()),
)
"""Everything that `ok` can say."""

server_frames: st.SearchStrategy[ServerFrame] = st.one_of(
    st.builds(
        Connected,
        request_ids,
        st.text(),
        st.text(),
        st.text(),
        seconds,
        counts,
        cursors,
        st.booleans(),
        st.none() | st.tuples(counts, counts),
        limits,
    ),
    st.builds(
        Ok,
        request_ids,
        answers.map(lambda answer: Raw(codec.encode(answer))),
    ),
    st.builds(
        Error,
        st.just(0) | request_ids,
        counts,
        st.text(),
        st.none() | seconds,
        st.none() | st.dictionaries(st.text(), st.text()),
    ),
    st.just(Ping()),
    st.just(Pong()),
    st.builds(Expiring, counts),
    st.builds(Goaway, seconds),
    st.builds(Push, counts, counts, counts, messages),
    st.builds(Lost, counts, counts),
    st.builds(Reset, counts, counts, st.text(), counts),
    st.builds(RoomPush, counts, st.integers(0, 2), messages),
    st.builds(RoomState, st.text(), counts, counts, st.text(max_size=32)),
    st.builds(Signaled, st.text(), st.text(), st.text(), st.binary(max_size=2000)),
    st.builds(Transient, messages),
    st.builds(Presence, st.text(), presence_states, st.text(), counts),
    st.builds(Receipt, st.text(), st.text(), counts, counts),
)
