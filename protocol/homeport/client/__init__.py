"""The SDK's parts: one connection, what goes out and comes in by it, and the public `Client`.

A program imports its names from :mod:`homeport`.
"""
