"""How every machine's agent is started from one place: one file for each way."""
