"""Strategies for every frame of protocol v1, within the bounds of SPEC.md section 4.6."""

from __future__ import annotations

from hypothesis import strategies as st

from protocol.frames import (
    Ack,
    ClientFrame,
    Connect,
    Connected,
    Cursor,
    Error,
    Expiring,
    Goaway,
    Limits,
    Lost,
    Mark,
    Message,
    Ok,
    Ping,
    Pong,
    Push,
    Receipt,
    Receipts,
    Renew,
    Result,
    Send,
    ServerFrame,
    Unread,
)

request_ids = st.integers(1, 2**32 - 1)
counts = st.integers(0, 2**53 - 1)
seconds = st.floats(0, 2**53 - 1)

cursors = st.builds(Cursor, st.text(max_size=32), counts, counts)
limits = st.builds(Limits, counts, counts, counts)
messages = st.builds(
    Message,
    st.binary(min_size=16, max_size=16),
    st.text(),
    st.text(),
    counts,
    st.text(),
    st.binary(max_size=2000),
)

client_frames: st.SearchStrategy[ClientFrame] = st.one_of(
    st.builds(
        Connect,
        request_ids,
        st.text(min_size=1, max_size=64),
        st.none() | st.text(),
        st.none() | cursors,
        st.text(max_size=128),
    ),
    st.builds(
        Send,
        request_ids,
        st.text(min_size=1, max_size=64),
        st.text(min_size=1, max_size=128),
        st.text(min_size=1, max_size=32),
        st.binary(max_size=2000),
    ),
    st.builds(Ack, counts),
    st.builds(Mark, request_ids, st.text(min_size=1, max_size=128), counts, counts),
    st.builds(Receipts, request_ids, st.text(min_size=1, max_size=128), counts),
    st.builds(Unread, request_ids),
    st.builds(Renew, request_ids, st.text()),
    st.just(Ping()),
    st.just(Pong()),
)

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
        st.builds(
            Result,
            st.none() | st.binary(),
            st.none() | counts,
            st.none() | counts,
            st.none() | st.lists(st.tuples(st.text(), counts, counts)),
            st.none() | st.tuples(counts, counts, counts),
            st.none() | st.lists(st.tuples(st.text(), counts)),
            st.none() | st.booleans(),
        ),
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
    st.builds(Push, counts, counts, messages),
    st.builds(Lost, counts, counts),
    st.builds(Receipt, st.text(), st.text(), counts, counts),
)
