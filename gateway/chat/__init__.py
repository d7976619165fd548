"""What a request means, and whether its author may ask it: messages, groups, rooms, history."""
