"""Mirrors gateway/session/routes.py."""

from __future__ import annotations

from collections.abc import Awaitable
from types import NoneType
from typing import get_args, get_origin, get_type_hints

from homeport import frames
from homeport.frames import ANSWERS, ClientFrame

from gateway.session.routes import ROUTES


def test_each_request_has_one_route() -> None:
    """HP-4.6-1: every frame of a client is asked of `chat` here, but those that a session answers
    by itself, and sends and signals. A frame that is added has to be in one of the two tables."""
    others = {
        frames.Connect,
        frames.Ack,
        frames.Renew,
        frames.Ping,
        frames.Pong,
        frames.Send,
        frames.RoomSend,
        frames.Signal,
    }
    assert set(get_args(ClientFrame)) - others == set(ROUTES)
    assert not others & set(ROUTES)
    assert len(set(ROUTES.values())) == len(ROUTES), "no two frames are the same request"


def test_each_route_gives_the_answer_that_the_protocol_names() -> None:
    """HP-4.6-1: by what the routes say that they return, which mypy holds them to."""
    for kind, route in ROUTES.items():
        hints = get_type_hints(route)
        assert hints["frame" if "frame" in hints else "_"] is kind
        told = hints["return"]
        answer = get_args(told)[0] if get_origin(told) is Awaitable else told
        assert answer is (None if ANSWERS[kind] is NoneType else ANSWERS[kind]), kind
