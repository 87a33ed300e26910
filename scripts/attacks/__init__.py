"""What outsiders, and one malicious node, can do to a run, and how well it goes on meanwhile."""
