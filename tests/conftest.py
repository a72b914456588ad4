"""What every test shares."""

import os

from hypothesis import settings

# Threads that wait for others sleep instead of spinning: on busy cores several times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No deadline: two busy cores are slow at times. The same examples on every CI run.
settings.register_profile("suite", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("suite")
