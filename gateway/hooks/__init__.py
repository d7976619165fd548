"""Webhooks: an app's servers are told what happens. docs/design/webhooks.md says how."""
