"""Pure values and functions: jobs and their states, what has changed, how it is written down. No I/O, no clock, no reactor."""
