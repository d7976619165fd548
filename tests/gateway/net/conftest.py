"""Certificates for the tests of the WSS listener."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.dev import certificates
from gateway.dev.certificates import DevCerts


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> DevCerts:
    """A certificate for localhost, and its CA."""
    return certificates.ensure(tmp_path_factory.mktemp("certs"), datetime.now(UTC))
