"""Tokens let clients in; keyring and sealing decide which gateways can read messages."""
