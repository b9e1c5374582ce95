"""jobpush while things fail: random histories, many kinds of clients, faults, and a checker. See docs/reliability.md."""
