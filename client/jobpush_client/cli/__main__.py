"""``python -m jobpush_client.cli``."""

from jobpush_client.cli import script

script()
