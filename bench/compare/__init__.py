"""Peers: the same work against NATS and Socket.IO, where they are installed."""
