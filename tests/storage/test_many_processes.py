"""Many processes push to one folder at once, and some of them are killed: every model that was
pushed is one whole version, and nothing half written is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore
from tests.storage.test_versions import write_model

PROCESSES, ROUNDS = 32, 3
# One interpreter that forks, so that all start at once and cost little. Each child is killed at
# another of its writes in all rounds but the last.
_PUSH = """
import os, signal, sys
from pathlib import Path
from kfp_suite.stores.folder import FolderStore
from kfp_suite.stores.versions import ModelStore

root, models, count, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

class Dying(FolderStore):
    left = -1
    def create(self, name, content):
        if Dying.left == 0:
            real = os.link
            def link(source, target):  # in the middle of a write, its file is half made
                os.kill(os.getpid(), signal.SIGKILL)
            os.link = link
        Dying.left -= 1
        super().create(name, content)

for again in range(rounds):
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            Dying.left = (number + again) % 7 if again < rounds - 1 else -1
            store = ModelStore(Dying(Path(root)))
            done = store.publish("late", models / str(number), evaluation={}, run={}, parameters={})
            store.set_alias("late", "challenger", done.version, "pushed")
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    expected = {0, -signal.SIGKILL} if again < rounds - 1 else {0}
    assert set(codes) <= expected, codes
    assert again == rounds - 1 or -signal.SIGKILL in codes
"""


def test_every_model_is_one_whole_version_whoever_is_killed(tmp_path: Path) -> None:
    for number in range(PROCESSES):
        write_model(tmp_path / "models" / str(number), b"%d" % number)
    root = tmp_path / "store"
    arguments = [str(root), str(tmp_path / "models"), str(PROCESSES), str(ROUNDS)]
    done = subprocess.run(
        [sys.executable, "-c", _PUSH, *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    models = ModelStore(FolderStore(root))
    versions = models.versions("late")
    assert versions == list(range(1, PROCESSES + 1))
    digests = {models.verify("late", version).digest for version in versions}
    assert len(digests) == PROCESSES
    history = models.alias_history("late", "challenger")
    assert set(versions) == {move.version for move in history}
    assert models.aliases("late") == {"challenger": history[-1].version}
    assert [path for path in root.rglob("*.partial") if path.is_file()] == []
