"""How many threads training computes with: the recorded number, whatever the machine says.

Sums of floating-point numbers depend on how many threads share them. So a training must run on
the number of threads that its lineage records, and `reproduce` on the number of the version,
on machines of fewer or more CPUs, under a CPU limit, and for any value of OMP_NUM_THREADS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import threadpoolctl

# scikit-learn takes no more threads than there are physical cores, unless OMP_NUM_THREADS is
# set. Libraries that are loaded later, and workers of joblib, read the other two.
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Let OpenMP and BLAS compute with exactly `count` threads, at least 1.

    What sets its own number (`n_jobs` of XGBoost and LightGBM) is not changed.
    """
    import sklearn.utils.parallel  # noqa: F401 - its OpenMP must be loaded to be limited

    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    try:
        with threadpoolctl.threadpool_limits(count):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
