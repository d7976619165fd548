"""Payloads: framed once for each kind of wire."""

from __future__ import annotations

from gateway.payload import Bundle, Payload


class Wires:
    """Two kinds of wire, and what each was asked to frame."""

    def __init__(self) -> None:
        self.framed: list[tuple[str, bytes]] = []

    def angled(self, data: bytes) -> bytes:
        """The one."""
        self.framed.append(("angled", data))
        return b"<%b>" % data

    def sized(self, data: bytes) -> bytes:
        """The other."""
        self.framed.append(("sized", data))
        return b"%d:%b" % (len(data), data)


def test_a_payload_is_framed_once_for_each_kind_of_wire() -> None:
    """G9: however many sessions get it, on whatever mixture of wires."""
    wires, payload = Wires(), Payload(b"hi")
    for _ in range(3):
        assert payload.framed(wires.angled) == b"<hi>"
        assert payload.framed(wires.sized) == b"2:hi"
    assert wires.framed == [("angled", b"hi"), ("sized", b"hi")]
    assert payload.parts == (b"hi",)


def test_a_bundle_is_joined_once_for_each_kind_of_wire() -> None:
    """G9: also where one of its payloads goes alone to a session that did not keep up."""
    wires, payloads = Wires(), [Payload(b"a"), Payload(b"bc")]
    bundle = Bundle(payloads)
    for _ in range(3):
        assert bundle.framed(wires.angled) == b"<a><bc>"
        assert bundle.framed(wires.sized) == b"1:a2:bc"
    assert bundle.framed(wires.angled) is bundle.framed(wires.angled)
    assert payloads[1].framed(wires.sized) == b"2:bc"
    assert sorted(wires.framed) == [
        ("angled", b"a"),
        ("angled", b"bc"),
        ("sized", b"a"),
        ("sized", b"bc"),
    ]
    assert bundle.parts == (b"a", b"bc")


def test_two_payloads_do_not_share_what_was_framed() -> None:
    """G3: each session gets its own numbers."""
    wires = Wires()
    assert Payload(b"a").framed(wires.angled) == b"<a>"
    assert Payload(b"b").framed(wires.angled) == b"<b>"
    assert Bundle([]).framed(wires.angled) == b""
    assert Bundle([Payload(b"c")]).framed(wires.angled) == b"<c>"
