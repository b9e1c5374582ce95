"""The tests of jobpush: under pytest, and, but for ``with_service``, under trial."""

import os

from hypothesis import HealthCheck, settings

# How long an example takes says more of the machine than of the code. A CI run that fails fails again.
settings.register_profile(
    "jobpush", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("jobpush")
