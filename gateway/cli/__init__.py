"""The `homeport` command: one module a group of commands, one boundary for errors."""
