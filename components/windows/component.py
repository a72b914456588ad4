"""The KFP interface of windows."""

from kfp import dsl
from kfp.dsl import Artifact, Output


@dsl.component(base_image="kfp-suite-python-deploy:0.1.0", install_kfp_package=False)
def windows(
    dates: Output[Artifact], sources: dict, sql: str, start: str, end: str, every: str = "month"
) -> list:
    """Cut a range of dates into windows, for `dsl.ParallelFor`.

    In the text of the sources and of the SQL, `${start}` and `${end}` stand for the first day
    of a window and the day after its last, and `${begin}` for the first day of all: dates as
    2026-01-31. A source like `gs://rows/${start}.parquet`, or `WHERE day < DATE '${end}'`,
    makes a dataset of each window.

    Args:
        dates: A folder with `windows.json`: the same list, for people.
        sources: As resolve takes them.
        sql: As ingest takes it.
        start: The first day.
        end: The day after the last.
        every: `day`, `week` or `month`: how long a window is; the last one may be shorter.

    Returns:
        Of each window, in order: `start`, `end`, `sources` and `sql`.
    """
    from pathlib import Path

    from kfp_suite.components.windows.executor import WindowsParameters
    from kfp_suite.components.windows.executor import windows as execute
    from kfp_suite.stores.step import step

    with step("windows", dates):
        return execute(WindowsParameters(sources, sql, start, end, every), Path(dates.path))
