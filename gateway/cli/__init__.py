"""The `homeport` command: one module per group of commands, one boundary for errors."""
