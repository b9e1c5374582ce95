"""Helpers for the reactor and the process that know no job: deadlines, long work in turns, garbage collection, log forms."""
