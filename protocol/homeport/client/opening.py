"""Opening a connection: from an address over TCP, a proxy and TLS to the WebSocket upgrade."""

from __future__ import annotations

import asyncio
from typing import Final

from websockets.uri import WebSocketURI, parse_uri

from homeport.client import proxy
from homeport.client.address import Address
from homeport.client.connection import Connection

OPEN_TIMEOUT_S: Final = 10.0
"""Seconds for the proxy, TCP, TLS and the WebSocket upgrade together."""


async def dial(address: Address) -> Connection:
    """Open a connection; the caller sets its ``receive`` before the first ``await``.

    No redirect is followed: the token is for the URL that the caller gave. Whatever goes wrong, and
    where the caller is cancelled, no socket stays open.

    Raises:
        OSError: TCP or TLS failed (`ssl.SSLCertVerificationError` is one), or the proxy made no
            tunnel (`homeport.client.proxy.ProxyFailed`).
        TimeoutError: it took over `OPEN_TIMEOUT_S`.
        websockets.exceptions.InvalidHandshake: the server refused, or it does not speak this
            subprotocol.
        ImportError: a SOCKS proxy needs the package python-socks.
        ValueError: there can be no such host, or the URL of the proxy can't be used
            (`homeport.client.proxy.ProxyUnusable`).
    """
    uri = parse_uri(address.url)
    connection = Connection(uri)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S) as limit:
            await _connect(connection, uri, address)
            await connection.upgraded()
    except BaseException as error:
        connection.abort()
        if isinstance(error, TimeoutError) and limit.expired():
            text = f"the connection was not open after {OPEN_TIMEOUT_S:g} seconds"
            raise TimeoutError(text) from error
        raise
    return connection


async def _connect(connection: Connection, uri: WebSocketURI, address: Address) -> None:
    """Give `connection` its transport."""
    loop = asyncio.get_running_loop()
    way = None
    if not address.is_loopback:
        way = proxy.find(address.proxy, uri.secure, uri.host, uri.port)
    tls, name = address.tls, uri.host if address.tls else None
    if way is None:
        await loop.create_connection(
            lambda: connection, uri.host, uri.port, ssl=tls, server_hostname=name
        )
        return
    through = await proxy.tunnel(way, uri.host, uri.port)
    through.set_protocol(connection)
    transport: asyncio.Transport | None = through
    if tls is not None:
        transport = await loop.start_tls(through, connection, tls, server_hostname=name)
    assert transport is not None, "asyncio gives one for a transport of its own"
    connection.connection_made(transport)
