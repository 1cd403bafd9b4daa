"""Which cases a command works on, where their results go, and which of them are done."""
