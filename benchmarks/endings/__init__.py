"""300 jobs on a real scheduler, each compared with what it has written itself: ``python -m benchmarks.endings slurm|sge``."""
