"""What the tests of delivery have their clients say."""

from __future__ import annotations

from homeport import frames

from tests.harness import RawClient


async def send_many(client: RawClient, to: str, count: int, first: int = 1) -> None:
    """Send `count` messages with the bodies m<first>, m<first + 1> …, and wait for each ok."""
    for number in range(first, first + count):
        await client.send(frames.Send(number, f"m{number}", to, "text", f"m{number}".encode()))
    for _ in range(count):
        await client.until(frames.Ok)


async def note(client: RawClient, user: str, count: int, first: int = 1) -> None:
    """As `send_many` to oneself, and take the pushes too: they and the oks come in any order."""
    for number in range(first, first + count):
        await client.send(frames.Send(number, f"m{number}", user, "text", f"m{number}".encode()))
    left = {frames.Ok: count, frames.Push: count}
    while any(left.values()):
        left[type(await client.receive())] -= 1


async def pushes(client: RawClient, count: int) -> list[frames.Push]:
    """The next `count` frames, which must be pushes."""
    return [await client.expect(frames.Push) for _ in range(count)]


async def quiet(client: RawClient) -> None:
    """Fail if the server has anything to say but the answer to this ping."""
    await client.send(frames.Ping())
    await client.expect(frames.Pong)
