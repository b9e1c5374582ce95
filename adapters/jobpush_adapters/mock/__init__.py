"""No scheduler: jobs in a file, and a demonstration."""
