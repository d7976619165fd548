"""The wire contract of Homeport, and its SDKs.

Everything here is sans-I/O except :mod:`protocol.client`, and nothing here imports the gateway.
``SPEC.md`` is the normative text; the modules below it are its Python form.
"""
