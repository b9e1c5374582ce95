"""What the adapters share: commands, files that are followed, rows that have not changed."""
