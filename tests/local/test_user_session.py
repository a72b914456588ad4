"""A new user's session in a terminal: own data, own module, everything twice."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import random
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import psutil
import pytest

from kfp_suite.local.serving import local_endpoint
from kfp_suite.runtimes.local import free_port
from tests.serving.load import Load
from tests.terminal import COMMAND, CTRL_C, bare_environment, drawn, terminal

pytestmark = pytest.mark.timeout(1200)  # a busy machine takes minutes for the first runs
ROWS = 300
PARAMETERS = """\
model_name: plans
sources: {survey: survey.csv}
split: {by: hash, eval: 0.2, test: 0.2}
label: plan
module_file: forest.py
comparison: {max_regression: 0.5}
"""
MODULE = '''\
"""A forest of my own."""

from sklearn.ensemble import RandomForestClassifier


def fit(training):
    forest = RandomForestClassifier(10, random_state=training.seed)
    return forest.fit(training.train.matrix, training.train.target)
'''
NOTEBOOK = """
from kfp_suite.notebook.running import run

result = run("train_and_deploy", "survey.yaml", check=False)
for step in ("ingest", "transform", "train", "evaluate"):
    assert "&lt;/html&gt;" in result.report(step)._repr_html_(), step
assert result.outputs["train.model_card"].read_text().startswith("# Predicts")
print(result.version["digest"], [step.name for step in result.run.steps if step.state == "cached"])
"""
RUN = ("run", "train_and_deploy", "--params", "survey.yaml")
ROLLOUT = (
    "run", "progressive_delivery", "--param", "model_name=plans",
    "--param", "store=kfp-suite-runs/models", "--param", "manifest=gateway/plans.yaml",
    "--param", "steps=[0, 100]", "--param", "step_seconds=5", "--param", "look_seconds=0.2",
    "--param", "undecided=go_on",
    "--param", "limits={error_margin: 0.05, latency_seconds: 20, latency_margin: 0.2}",
)  # fmt: skip


@dataclass(frozen=True)
class Session:
    """A user's folder after the first runs, and what the screen showed at the end of each."""

    folder: Path
    first: str
    second: str
    rows: list[dict[str, str]]

    def screen(
        self, *words: str, code: int = 0, columns: int = 100, term: str = "xterm-256color"
    ) -> str:
        """What a command shows in the terminal, which must end with `code`."""
        with terminal(COMMAND, *words, cwd=self.folder, columns=columns, term=term) as shown:
            ended = shown.wait()
        assert ended == code, shown.text
        assert "defect" not in shown.text
        assert "Traceback" not in shown.text
        return shown.screen


def survey() -> str:
    """A CSV with dates, quotes and commas in its texts."""
    chance, text = random.Random(7), io.StringIO()
    rows = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow(["joined", "town", "minutes", "visits", "plan"])
    for number in range(ROWS):
        minutes = round(chance.gauss(300, 80), 1)
        rows.writerow(
            [
                (date(2023, 1, 1) + timedelta(days=number)).isoformat(),
                chance.choice(["Bonn, am Rhein", 'Halle "Saale"', "Ulm"]),
                minutes,
                chance.randrange(12),
                "pro" if minutes > 300 else "basic",
            ]
        )
    return text.getvalue()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The first run, its window resized meanwhile, and one that makes a second version."""
    folder = tmp_path_factory.mktemp("a user's folder")
    content = survey()
    (folder / "survey.csv").write_text(content)
    (folder / "survey.yaml").write_text(PARAMETERS)
    (folder / "forest.py").write_text(MODULE)
    with terminal(COMMAND, *RUN, cwd=folder, columns=80) as first:
        first.wait_for(r"ingest +done")
        first.resize(60)
        first.wait_for(r"transform +done")
        first.resize(120)
        assert first.wait() == 0, first.text
    with terminal(
        COMMAND, *RUN, "--param", "seed=1", "--no-serve", cwd=folder, columns=120
    ) as second:
        assert second.wait() == 0, second.text
    rows = list(csv.DictReader(io.StringIO(content)))
    return Session(folder, first.text, second.screen, rows)


def test_the_first_run_ends_with_what_it_made(session: Session) -> None:
    shown = session.first
    assert re.search(r"✓ evaluate +done", shown)
    assert "plans version 1: challenger, champion" in shown
    assert re.search(r"metrics  f1 0\.\d+|metrics  roc_auc [01]", shown)
    assert "kfp-suite open latest  (evaluate, infra-validate, ingest, train" in shown
    assert "the endpoint answered:" in shown
    assert "keep it up:  kfp-suite serve" in shown


def test_a_version_that_nothing_serves_says_so(session: Session) -> None:
    shown = session.second
    assert re.search(r"· ingest +cached", shown)
    assert "plans version 2: challenger" in shown
    assert "published; no endpoint serves it yet" in shown
    assert "make it the champion:  kfp-suite models alias plans/2 champion" in shown
    assert "kfp-suite open latest  (evaluate, infra-validate, ingest, train" in shown


def test_the_same_again_in_a_notebook(session: Session) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK],
        cwd=session.folder,
        env=bare_environment(session.folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (digest,) = re.findall(r"sha256:[0-9a-f]{64}", session.first)
    assert done.stdout == f"{digest} ['ingest', 'transform', 'train']\n"


@pytest.mark.parametrize(
    ("words", "columns", "term", "shown"),
    [
        (("runs", "list"), 200, "xterm-256color", "served"),
        (("runs", "list"), 40, "xterm-256color", "published"),
        (("runs", "show", "latest"), 40, "xterm-256color", "parameters"),
        (("runs", "best", "--metric", "accuracy"), 80, "dumb", "reproduce"),
        (("models", "list"), 80, "xterm-256color", "plans"),
        (("models", "show", "plans/1"), 40, "xterm-256color", "binary"),
        (("models", "verify", "plans"), 80, "dumb", "all as published"),
        (("models", "best", "plans", "--metric", "accuracy"), 80, "dumb", "of plans"),
        (("open", "latest", "train", "--no-browser"), 200, "dumb", "reports/train.html"),
        (("doctor",), 40, "xterm-256color", "local"),
        (("list",), 40, "dumb", "train_and_deploy"),
        (("compile", "train_and_deploy", "-o", "."), 80, "xterm-256color", "train_and_deploy.yaml"),
        (("new", "component", "row_count"), 80, "dumb", "executor.py"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_a_command_of_the_readme(
    session: Session, words: tuple[str, ...], columns: int, term: str, shown: str
) -> None:
    screen = session.screen(*words, columns=columns, term=term)
    assert shown in screen
    if words[0] == "runs":
        assert "…" not in screen  # a name that is cut cannot be given to a command


def test_two_runs_are_compared_in_a_narrow_terminal(session: Session) -> None:
    first, second = sorted(path.parent.name for path in session.folder.glob("*/*/run.json"))[:2]
    screen = session.screen("runs", "compare", first, second, columns=80)
    assert f"first:  {first}" in screen
    assert re.search(r"seed +- +1", screen)
    assert re.search(r"evaluate +[\d.]+ +[\d.]+ +[-+][\d.]+", screen)
    assert "…" not in screen


def test_what_is_piped_has_no_control_codes(session: Session) -> None:
    line = (
        f"'{COMMAND}' runs show latest | cat > shown.txt; '{COMMAND}' runs show --json > run.json"
    )
    with terminal("/bin/sh", "-c", line, cwd=session.folder) as shell:
        assert shell.wait() == 0
    assert shell.output == ""
    assert "\x1b" not in (session.folder / "shown.txt").read_text()
    assert json.loads((session.folder / "run.json").read_text())["outcome"] in (
        "published",
        "served",
        "interrupted",
    )


def test_without_colour(session: Session) -> None:
    environment = bare_environment(session.folder, NO_COLOR="1")
    with terminal(COMMAND, "doctor", cwd=session.folder, environment=environment) as shown:
        assert shown.wait() == 0
    assert not re.search(r"\x1b\[[\d;]*3\dm", shown.output)


def test_json_is_all_that_is_on_standard_output_of_an_interrupted_run(session: Session) -> None:
    line = f"exec '{COMMAND}' {' '.join(RUN)} --no-cache --json > interrupted.json"
    before = set(session.folder.glob("kfp-suite-runs/train-and-deploy-*"))
    with terminal("/bin/sh", "-c", line, cwd=session.folder) as run:
        run.wait_for(r"transform +running|train +running")
        started = psutil.Process(run.process.pid).children(recursive=True)
        assert started
        run.type(CTRL_C)
        assert run.wait() == 130
    assert run.text.rstrip().endswith("interrupted")
    assert "Traceback" not in run.text
    said = json.loads((session.folder / "interrupted.json").read_text())
    assert (said["status"], said["outcome"], said["error"]) == ("CANCELLED", "interrupted", None)
    ran, interrupted = list(said["steps"].items())[:-1], list(said["steps"].items())[-1]
    assert [step["state"] for _, step in ran] == ["succeeded"] * len(ran)
    assert interrupted[1]["state"] == "interrupted"
    assert re.search(rf"✗ {interrupted[0]} +interrupted +[\d.]+ s", run.text)
    assert said["run_id"] in run.text
    assert f"{said['run_id']}/run.log" in run.text
    again = (
        f"kfp-suite run train_and_deploy --params kfp-suite-runs/{said['run_id']}/parameters.json"
    )
    assert again in " ".join(run.text.split())
    assert psutil.wait_procs(started, timeout=30)[1] == []
    (folder,) = set(session.folder.glob("kfp-suite-runs/train-and-deploy-*")) - before
    listed = session.screen("runs", "list", columns=300)
    assert re.search(rf"{folder.name} +interrupted +plans", listed)
    shutil.rmtree(folder)


def test_a_port_that_is_taken_is_said_before_the_run(session: Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        screen = session.screen(*RUN, "--port", str(port), code=1)
    assert f"port {port} cannot be used" in screen
    assert "resolve" not in screen


def test_rollouts_one_after_the_other(session: Session) -> None:
    manifest = session.folder / "gateway" / "plans.yaml"
    manifest.parent.mkdir()
    deployed = sorted(session.folder.glob("kfp-suite-runs/*/deploy/endpoint/*.yaml"))[0]
    shutil.copyfile(deployed, manifest)
    with local_endpoint(str(manifest), "plans") as gateway:
        row = session.rows[0]
        record = {key: row[key] for key in ("joined", "town")}
        record |= {"minutes": float(row["minutes"]), "visits": int(row["visits"])}  # type: ignore[dict-item]
        with Load(gateway.url, {"instances": [record]}, clients=2) as load:
            for attempt, version in ((1, 2), (2, 1)):
                words = ("--param", f"version={version}", "--param", f"attempt={attempt}")
                screen = session.screen(*ROLLOUT, *words, columns=120)
                assert re.search(r"^promoted$", screen, re.MULTILINE), screen
                assert "no version was" not in screen
        assert load.failed == []
        assert set(load.versions) == {"1", "2"}


@pytest.mark.skipif(
    importlib.util.find_spec("tritonclient") is None, reason="pip install 'tritonclient[grpc]'"
)
def test_tritonclient_asks_the_endpoint(session: Session) -> None:
    reference, port = str(session.folder / "kfp-suite-runs/models/plans/1"), free_port()
    row = session.rows[0]
    inputs = [
        {"name": "joined", "datatype": "BYTES", "values": [row["joined"]]},
        {"name": "town", "datatype": "BYTES", "values": [row["town"]]},
        {"name": "minutes", "datatype": "FP64", "values": [float(row["minutes"])]},
        {"name": "visits", "datatype": "INT64", "values": [int(row["visits"])]},
    ]
    case = {
        "protocol": "grpc", "port": port, "model": "plans", "call": "infer",
        "inputs": inputs, "outputs": [],
    }  # fmt: skip
    with local_endpoint(reference, "plans", arguments=("--grpc-port", str(port))):
        done = subprocess.run(
            [sys.executable, "-m", "tests.serving.triton_client"],
            input=json.dumps(case) + "\n",
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
    answer = json.loads(done.stdout)
    assert answer["version"] == "1"
    assert answer["outputs"]["prediction"] == [row["plan"]]


def test_the_screen_is_what_a_terminal_shows() -> None:
    assert drawn("a\r\n1234567", 5) == "a\n12345\n67"
    assert drawn("…run\r\x1b[2K\x1b[1A\r\x1b[2Kdone\r\n", 20) == "done\n"
    assert drawn("\x1b[32m✓\x1b[0m ok\x1b[?25h", 20) == "✓ ok"
