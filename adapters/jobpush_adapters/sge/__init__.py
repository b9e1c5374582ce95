"""Grid Engine: qstat and the accounting file."""
