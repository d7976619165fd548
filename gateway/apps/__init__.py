"""What an app is: its region for life, its settings, its certificates. Does no I/O."""
