"""Every page that a step leaves for people is bounded, whatever the data: and loads nothing."""

from __future__ import annotations

from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from kfp_suite.components.evaluate.executor import EvaluateParameters, evaluate
from kfp_suite.components.infra_validate.executor import InfraBlessing, _summary
from kfp_suite.components.infra_validate.limits import Figures
from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.resolve.executor import resolve
from kfp_suite.components.rollout.outcome import Outcome, Step
from kfp_suite.components.rollout.summary import summary
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.train.packaging import CARD
from kfp_suite.components.train.tune.best.executor import best_trial
from kfp_suite.components.train.tune.search_space import Plain
from kfp_suite.components.train.tune.study import Study, Trial
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.components.validate.executor import validate
from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters
from kfp_suite.reports.page import MAX_ROWS, Page
from kfp_suite.stores.sources import sources_from_json

ROWS = 4000
COLUMNS = 500
SLICES = 1000
CLASSES = 200
LONG = "<script src='https://example.com/x.js'>`|" + "long and " * 300
KIB = 1024
# Kibibytes that each stays below.
PAGES = {
    "preview.html": 256,
    "validation.html": 1024,
    "transform.html": 512,
    "evaluation.html": 1024,
    "search.html": 256,
    "card.md": 128,
    "rollout.md": 64,
    "infra.md": 64,
}
NOT_OURS = {"script", "link", "iframe", "img", "object", "embed", "base", "form", "b"}


class Reader(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles += "".join(value or "" for name, value in attrs if name == "style")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style":
            self.styles += data


def write_source(path: Path) -> None:
    """Many columns with long names, a class for every 20 rows, a slice for every 4."""
    chance = np.random.default_rng(1)
    kinds = np.array([f"{i} {LONG}" for i in range(CLASSES)])
    groups = np.array([f"{i} {'of a long name ' * 10}" for i in range(SLICES)])
    columns = {
        "id": np.arange(ROWS),
        "kind": kinds[np.arange(ROWS) % CLASSES],
        "group": groups[np.arange(ROWS) % SLICES],
        "said": np.array([LONG, "short"])[np.arange(ROWS) % 2],
    }
    for number in range(COLUMNS):
        name = f"column {number} with <b>a name</b> | `that` is long" + " very" * 10
        columns[name] = chance.integers(0, 50, ROWS)
    csv.write_csv(pa.table(columns), path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on such data; each step's page by the name that it has in `PAGES`."""
    folder = tmp_path_factory.mktemp("pages")
    write_source(folder / "rows.csv")
    pinned = resolve({"rows": str(folder / "rows.csv")}, "", "", "", folder / "pins")
    split = {"by": "hash", "key": ["id"], "eval": 0.1, "test": 0.5}
    dataset, fitted, model = (folder / name for name in ("dataset", "transform", "model"))
    sources = sources_from_json(pinned.sources)
    ingest(IngestParameters(split=split), sources, dataset, folder / "preview.html")
    outputs = ValidateOutputs(
        folder / "statistics", folder / "schema", folder / "anomalies", folder / "validation.html"
    )
    validate(ValidateParameters(label="kind"), dataset, outputs)
    features = {"exclude": ["id", "group"], "others": "auto"}
    transform(TransformParameters(features, "kind"), dataset, fitted, folder / "transform.html")
    tree = {"max_depth": 3}
    train(TrainParameters("kind", estimator="decision_tree", hyperparameters=tree), None, dataset,
          fitted, model)  # fmt: skip
    (folder / "card.md").write_bytes((model / CARD).read_bytes())
    limits = {"accuracy": {"slices": {"min": 0.5}}}
    evaluate(
        EvaluateParameters(
            thresholds=limits, slices=["group"], min_slice_rows=1, resamples=2
        ),
        dataset,
        model,
        folder / "evaluation",
        folder / "evaluation.html",
    )  # fmt: skip
    study = Study.open(f"{folder}/store/rows/_studies/abc")
    for number in range(MAX_ROWS):
        values: dict[str, Plain] = {f"option_{i}": LONG for i in range(20)}
        study.keep(Trial(f"0-{number:04}", LONG, values, "complete", "r2", (), number / 7, LONG))
    best_trial([study.uri], folder / "study", folder / "search.html")
    shares = {"bad": 12, "total": 34_567}
    criterion = {"name": "errors", "stable": shares, "candidate": shares}
    judged = {
        "verdict": "continue",
        "criteria": [{**criterion, "margin": 0.01, "worse": 0.1, "good": 0.2}] * 4,
    }
    rolled = Outcome("rows", "rows", 2, 1, False, LONG, 0, (Step(1, 600.0, judged, LONG),) * 100)
    (folder / "rollout.md").write_text(summary(rolled))
    figures = Figures(3.8, 72, 5.4, 14.1, 0.0, None, left_out=12)
    judgement = InfraBlessing(
        blessed=False,
        reasons=(LONG,) * 4,
        runtime="kfp-suite",
        place="process",
        model_digest="sha256:" + "0" * 64,
        limits={"memory_mb": 100},
        figures=asdict(figures),
    )
    (folder / "infra.md").write_text(_summary(judgement))
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_small_and_loads_nothing(name: str, pages: Path) -> None:
    text = (pages / name).read_text()
    assert len(text) > 300
    assert len(text.encode()) < PAGES[name] * KIB
    reader = Reader()
    reader.feed(text)
    if name.endswith(".md"):
        assert reader.tags == set()
        return
    assert not reader.tags & NOT_OURS  # "b": of a column's name
    assert not {a for a in reader.attributes if a in ("src", "href") or a.startswith("on")}
    assert "url(" not in reader.styles and "@import" not in reader.styles


def test_what_is_cut_is_counted() -> None:
    page = Page("Long")
    page.table(["name", "value"], [[f"row {i}", i] for i in range(MAX_ROWS + 5)])
    page.table([f"column {i}" for i in range(50)], [list(range(50))])
    page.verdict(False, [f"reason {i}" for i in range(25)])
    html = page.html()
    assert "Of this table, the first 1,000 of 1,005 rows." in html
    assert f"row {MAX_ROWS - 1}<" in html and f"row {MAX_ROWS}<" not in html
    assert "Of this table, the first 40 of 50 columns." in html
    assert "and 5 more" in html and "reason 20" not in html
