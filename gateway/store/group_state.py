"""A group as the store holds it, in the group's own bucket.

The state is a hash: ``v`` version, ``n`` sealed name, ``q`` whether all are muted, and per
member ``u:<user>``: role, and ``-`` if muted. ``gone``, the former owner, marks a deleted group for
a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from homeport.frames.groups import Role

from gateway.store.audience import Audience

NO_MEMBERS: Final = 3
"""Fields of a state that are no members."""

_ROLES: Final[dict[str, Role]] = {"o": "owner", "a": "admin", "m": "member"}


@dataclass(frozen=True, slots=True)
class Member:
    """One member's place in a group."""

    role: Role
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A group at one version. `gone` is empty, or the owner of what was deleted."""

    id: str
    version: int
    sealed_name: bytes
    muted: bool
    members: dict[str, Member]
    gone: str
    audience: Audience = field(repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes another; None is no change, and a member that is None is taken out."""

    sealed_name: bytes | None = None
    muted: bool | None = None
    members: dict[str, Member | None] = field(default_factory=dict)
    deleted_by: str | None = None


class Notice(NamedTuple):
    """What members are told of a change: a sealed message, and the version that the group has from
    the change on."""

    version: int
    message_id: bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class Summary:
    """A group in the list of one of its members."""

    id: str
    version: int
    sealed_name: bytes
    muted: bool
    role: Role
    size: int


def fields_of(change: Change) -> list[str | bytes]:
    """Field and value, one after the other; an empty value takes the field out."""
    if change.deleted_by is not None:
        return ["gone", change.deleted_by]
    fields: list[str | bytes] = []
    if change.sealed_name is not None:
        fields += ("n", change.sealed_name)
    if change.muted is not None:
        fields += ("q", "1" if change.muted else "0")
    for user, member in change.members.items():
        fields += (f"u:{user}", _value(member))
    return fields


def _value(member: Member | None) -> str:
    if member is None:
        return ""
    return member.role[0] + ("-" if member.muted else "")


def member_of(value: bytes) -> Member:
    """What `fields_of` wrote for a member."""
    return Member(_ROLES[value[:1].decode()], value.endswith(b"-"))
