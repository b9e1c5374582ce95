"""jobpush: push every change of a batch job's state to the HTTP clients that wait for it."""

__version__ = "0.1.0"
