"""What the adapters share: commands, log files that are followed, incremental rows."""
