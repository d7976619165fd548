"""The gateway: one asyncio process per worker, which sessions, fan-out and storage meet in."""

__version__ = "0.1.0"
