"""Sockets: TLS, the listener, and the WebSocket connection. The only package that imports
websockets."""
