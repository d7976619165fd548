"""The client's address in an HTTP header that a trusted proxy set: ``Forwarded`` (RFC 7239) or
``X-Forwarded-For``.

Each proxy on the way appends the address that it saw. So the list is read from its end, where our
own proxies wrote, and the first address that is not one of theirs is the client's. What stands
before that the client may have written itself, and is not believed.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.net.addresses import Ip, Networks, address

# One parameter of an element, and what ends it (RFC 7239 section 4).
_PARAMETER: Final = re.compile(
    r"[ \t]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)="
    r'(?:"((?:[^"\\]|\\.)*)"|([A-Za-z0-9!#$%&\'*+.^_`|~:\[\]-]+))[ \t]*([,;]|$)'
)
# Of a node, the address: with a port perhaps, and for IPv6 then in brackets (section 6).
_NODE: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\w+)?|([0-9.]+)(?::\w+)?|([0-9A-Fa-f:.]+)")


class BadForwarded(Exception):
    """``Forwarded`` can't be read. A quote that a client left open would hide what follows it, so
    nothing of such a header is believed."""


def client(header: str, values: list[str], trusted: Networks) -> Ip | None:
    """The client's address by the `values` of `header`, a lower-case name, in their order.

    None where there is none, or where the last thing that a proxy of ours wrote is no address.

    Raises:
        BadForwarded: the header has a wrong form.
    """
    text = ",".join(values)
    nodes = _forwarded(text) if header == "forwarded" else text.split(",")
    for node in reversed(nodes):
        ip = _address(node.strip())
        if ip is None or ip not in trusted:
            return ip
    return None


def _forwarded(text: str) -> list[str]:
    """The ``for`` of each element; empty for one that has none."""
    nodes, node, at = [], "", 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            raise BadForwarded("Forwarded has a wrong form (RFC 7239 section 4)")
        name, quoted, plain, end = match.groups()
        if name.lower() == "for":
            node = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if end != ";":
            nodes.append(node)
            node = ""
        at = match.end()
    return nodes


def _address(node: str) -> Ip | None:
    match = _NODE.fullmatch(node)
    return None if match is None else address(match[1] or match[2] or match[3])
