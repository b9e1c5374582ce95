"""Slurm: squeue, sacct, and the controller's log or a cheap question to it."""
