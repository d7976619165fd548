"""What is in deploy/ works as it stands: checked with the programs that read it."""
