"""The whole of Homeport: `homeport serve` processes, a real Valkey, the SDK, and violence."""
