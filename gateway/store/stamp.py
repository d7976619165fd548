"""The region stamp: what makes one Redis one region's, and one key file's.

``hp:region`` is a hash: ``region`` is set once, by the first gateway; ``key:<version>`` identifies
each key that sealed something here (`Keyring.check_value`, which does not tell the key), and
``next:<version>`` one that some gateway has got and does not seal under yet. A gateway may lack the
second kind, but not the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.security.keyring import Keyring
from gateway.store.errors import WrongKeys, WrongRegionStamp
from gateway.store.keys import STAMP

Call = Callable[..., Awaitable[Any]]
"""Runs one Redis command, given as its words."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a gateway brings: its region, the check value of each key it holds, and the versions of
    those that it must not be first to seal under."""

    region: str
    keys: dict[int, str]
    coming: frozenset[int] = frozenset()

    @classmethod
    def of(cls, keyring: Keyring, coming: frozenset[int] = frozenset()) -> Identity:
        """The identity that a key file gives."""
        keys = {version: keyring.check_value(version) for version in keyring.keys}
        return cls(keyring.region, keys, coming)


async def check(call: Call, identity: Identity) -> None:
    """Stamp a fresh Redis, or hold an old one's stamp against `identity`.

    Raises:
        WrongRegionStamp: it is another region's.
        WrongKeys: its data was sealed with a key that `identity` lacks, or has another of.
    """
    region = (await _claim(call, "region", identity.region)).decode()
    if region != identity.region:
        raise WrongRegionStamp(found=region, expected=identity.region)
    # Before adding ours: a foreign key file must not leave its mark here.
    fields = [f for f in await call("HKEYS", STAMP) if f.startswith(b"key:")]
    values = await call("HMGET", STAMP, *fields) if fields else []
    known = {int(f[4:]): v.decode() for f, v in zip(fields, values, strict=True)}
    for version, value in known.items():
        if version not in identity.keys:
            raise WrongKeys(version, missing=True)
        if identity.keys[version] != value:
            raise WrongKeys(version, missing=False)
    for version, value in identity.keys.items():
        if version in known or version in identity.coming:
            continue
        if await _claim(call, f"key:{version}", value) != value.encode():
            raise WrongKeys(version, missing=False)


async def _claim(call: Call, field: str, value: str) -> bytes:
    """Set a field of the stamp unless it is set; returns what is there now.

    It is read first, so that a full Redis, which refuses to write, lets in whom it knows.
    """
    found: bytes | None = await call("HGET", STAMP, field)
    if found is None:
        # Two gateways may be the first at once; one of them finds the other's here.
        await call("HSETNX", STAMP, field, value)
        found = await call("HGET", STAMP, field)
    assert found is not None
    return found


async def announce(call: Call, identity: Identity) -> frozenset[int]:
    """Say which keys are coming, for other gateways to compare theirs with; then as `different`."""
    for version in identity.coming:
        await _claim(call, f"next:{version}", identity.keys[version])
    return await different(call, identity)


async def different(call: Call, identity: Identity) -> frozenset[int]:
    """The versions of the coming keys that some gateway has another key of.

    So two files were rotated, where one should have been copied.
    """
    found = set()
    for version in identity.coming:
        told = await call("HGET", STAMP, f"next:{version}")
        if told is not None and told != identity.keys[version].encode():
            found.add(version)
    return frozenset(found)
