"""The log of kfp's local runner as events."""

import pytest

from kfp_suite.local.events import (
    Cached,
    Event,
    Finished,
    LogReader,
    Refused,
    Retried,
    Said,
    Started,
)

LOG = """\
09:19:57.890 - INFO - Running pipeline: \x1b[95m'p'\x1b[0m
--------------------------------------------------------------------------------
2026-11-23 09:19:57,890 - INFO - Task resolve cache hit (key=0123456789ab); skipping execution.
09:19:57.896 - INFO - Executing task \x1b[96m'ingest'\x1b[0m
09:19:57.896 - INFO - Streamed logs:

    [KFP Executor 2026-11-23 09:19:57,960 INFO]: Got executor_input:
    {
        "inputs": {}
    }
    read 10 rows
    [KFP Executor 2026-11-23 09:19:57,980 INFO]: 7 of 10 rows are valid
    [KFP Executor 2026-11-23 09:19:57,990 INFO]: Wrote executor output file.
    error: x: no
    

09:19:58.091 - ERROR - Task \x1b[96m'ingest'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
2026-11-23 09:19:58,091 - INFO - Task ingest failed (attempt 1/2). Retrying in 5.0s...
09:19:58.100 - INFO - Executing task \x1b[96m'ingest'\x1b[0m
09:19:58.191 - INFO - Task \x1b[96m'ingest'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
09:19:58.191 - INFO - Task \x1b[96m'ingest'\x1b[0m outputs:
    dataset: Dataset( name='dataset' )
"""


def test_events_are_read_line_by_line() -> None:
    reader = LogReader()
    events = [event for line in LOG.splitlines() if (event := reader.read(line)) is not None]
    assert events == [
        Cached("resolve"),
        Started("ingest"),
        Said("ingest", "read 10 rows"),
        Said("ingest", "7 of 10 rows are valid"),
        Said("ingest", "error: x: no"),
        Finished("ingest", False),
        Retried("ingest", 1),
        Started("ingest"),
        Finished("ingest", True),
    ]


@pytest.mark.parametrize(("verdict", "events"), [("True", []), ("False", [Refused("validate")])])
def test_a_verdict_of_no_is_an_event(verdict: str, events: list[Event]) -> None:
    log = f"""\
09:19:58.191 - INFO - Task \x1b[96m'validate'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
09:19:58.191 - INFO - Task \x1b[96m'validate'\x1b[0m outputs:
    Output: {verdict}
    anomalies: Artifact( name='anomalies',
--------------------------------------------------------------------------------
    Output: False
"""
    reader = LogReader()
    found = [event for line in log.splitlines() if (event := reader.read(line)) is not None]
    assert found == [Finished("validate", True), *events]
