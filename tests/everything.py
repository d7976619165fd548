"""A user who sends others everything that a user can send, to see what stands it."""

from __future__ import annotations

from homeport import Client
from homeport.limits import MAX_KIND_CHARS, MAX_MENTIONS, MAX_SIGNAL_BYTES

ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\n\u202e\x00 grüße 你好 🙂"
"""A text that steers a terminal, and has letters that not every one has."""

BODIES: tuple[tuple[str, bytes], ...] = (
    ("text", ESCAPES.encode()),
    ("text", b""),
    ("text", b"not UTF-8: \xff\xc3\xed\xa0\x80"),
    ("text", b"x" * 4096),
    ("binary", bytes(range(256))),
    ("image", b"\x89PNG\x00"),
    (ESCAPES, b"of a kind like that"),
    ("k" * MAX_KIND_CHARS, b"\xdd\xff\xff\xff\xff"),
    ("json", b"[" * 4000),
)
"""Kinds and bodies."""


async def send_everything(url: str, token: str, victims: list[str], room: str) -> None:
    """Send it all to each of `victims`, to a group of them, and to a room."""
    async with Client(url, device="everything", token=token) as client:
        await client.set_presence("away", status=ESCAPES)
        group = await client.create_group(ESCAPES, victims)
        for to in (*victims, group.peer):
            for kind, body in BODIES:
                await client.send(to, body, kind=kind)
            await client.recall(await client.send(to, "recalled"))
            edited = await client.send(to, "edited")
            await client.edit(edited, ESCAPES)
            many = [f"user{number}" for number in range(MAX_MENTIONS)]
            await client.send(to, "options", mentions=many, reply=edited, ttl=3600)
            await client.send(to, "no history", history=False)
            if to != group.peer:
                await client.send(to, b"\xff", kind="text", online_only=True)
            client.conversation(to).signal(ESCAPES, b"\xff" * MAX_SIGNAL_BYTES)
        await group.rename("g" * 128)
        await group.set_role(victims[0], "admin")
        await group.mute()
        await group.mute(victims[1])
        await group.remove(victims[:1])
        await group.add(victims[:1])
        # Another one: what waits of a group that is deleted is lost (HP-13.1-5).
        await (await client.create_group("gone", victims)).delete()
        async with client.room(room) as joined:
            for kind, body in BODIES:
                await joined.send(body, kind=kind)
