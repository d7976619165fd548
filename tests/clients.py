"""Clients of the SDK whose waits before they come back are the test's."""

from __future__ import annotations

from typing import Any
from unittest import mock

from homeport import Client
from homeport.client.backoff import Backoff


def client_with(backoff: Backoff, url: str, **options: Any) -> Client:
    """A client that waits as `backoff` does. Programs can't choose that, so `Client` takes none."""
    with mock.patch("homeport.client.client.Backoff", return_value=backoff):
        return Client(url, **options)
