"""``python -m jobpush.cli``."""

from jobpush.cli import script

script()
