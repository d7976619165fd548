"""Which release of the SDK this is."""

__version__ = "0.1.0"
