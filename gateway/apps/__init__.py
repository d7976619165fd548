"""What an app is: its region for life, its tier, its certificates. Does no I/O."""
