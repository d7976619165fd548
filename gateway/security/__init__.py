"""Who may come in (tokens) and who may read (keyring, sealing)."""
