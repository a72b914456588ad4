"""Ingest: the same rows give the same digest; what cannot be read is one line."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.contracts.dataset import SPLITS, Dataset
from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.stores.sources import parse_sources, pin

HASH = {"by": "hash", "key": ["id"], "eval": 0.2, "test": 0.2}
CSV = "id,name,score\n" + "".join(f"{i},n{i % 5},{i / 4}\n" for i in range(100))


def run(folder: Path, sources: dict[str, Any], **parameters: Any) -> Dataset:
    pinned = {name: pin(name, spec) for name, spec in parse_sources(sources).items()}
    given = IngestParameters(**({"split": HASH} | parameters))
    return ingest(given, pinned, folder / "dataset", folder / "preview")


def fails(folder: Path, sources: dict[str, Any], **parameters: Any) -> str:
    with pytest.raises(KfpSuiteError) as caught:
        run(folder, sources, **parameters)
    assert not (folder / "dataset").exists()
    assert not (folder / "preview").exists()
    text = str(caught.value).replace(str(folder), "FOLDER")
    assert "\n" not in text
    return text


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_every_row_is_in_one_split(tmp_path: Path) -> None:
    data = run(tmp_path, {"t": write(tmp_path / "a.csv", CSV)})
    ids = [i for s in ("train", "eval", "test") for i in data.table(s)["id"].to_pylist()]
    assert sorted(ids) == list(range(100))
    assert {c.name: c.type for c in data.manifest.columns} == {
        "id": "int64",
        "name": "string",
        "score": "float64",
    }
    data.verify()


def test_a_row_goes_where_the_md5_of_its_key_says(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    split = {"by": "hash", "key": ["name", "id"], "eval": 0.25, "test": 0.25, "salt": "s"}
    dataset = run(tmp_path, {"t": str(tmp_path / "a.csv")}, split=split)
    found = {
        row["id"]: split for split in SPLITS for row in dataset.table(split, ["id"]).to_pylist()
    }

    def expected(i: int) -> str:
        key = "\x1f".join(["s", f"vn{i % 5}", f"v{i}"])
        share = int(hashlib.md5(key.encode()).hexdigest(), 16) / 2**128
        return "train" if share < 0.5 else "eval" if share < 0.75 else "test"

    assert found == {i: expected(i) for i in range(100)}


@pytest.mark.parametrize("rows_per_shard", [7, 1_000])
def test_shards_hold_as_many_rows_as_asked(rows_per_shard: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    dataset = run(tmp_path, {"t": str(tmp_path / "a.csv")}, rows_per_shard=rows_per_shard)
    for split in dataset.manifest.splits.values():
        rows = [shard.rows for shard in split.shards]
        assert sum(rows) == split.rows
        assert rows[:-1] == [rows_per_shard] * (len(rows) - 1)
        assert 0 < rows[-1] <= rows_per_shard
        files = [pq.read_metadata(dataset.path / shard.path).num_rows for shard in split.shards]
        assert files == rows


def test_the_format_and_the_compression_change_no_digest(tmp_path: Path) -> None:
    rows = [{"id": i, "name": f"n{i % 5}", "score": i / 4} for i in range(100)]
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    files = [
        write(tmp_path / "a.csv", CSV),
        write(tmp_path / "a.csv.gz", gzip.compress(CSV.encode())),
        str(tmp_path / "a.csv.zip"),
        write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))),
        str(tmp_path / "a.parquet"),
    ]
    digests = {run(tmp_path / f"out{i}", {"t": f}).manifest.digest for i, f in enumerate(files)}
    assert len(digests) == 1


@settings(max_examples=15)
@given(cut=st.integers(1, 99), shard=st.integers(1, 120))
def test_files_and_shards_change_no_digest(
    cut: int, shard: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    header, *lines = CSV.splitlines(keepends=True)
    (folder / "in").mkdir()
    write(folder / "in" / "a.csv", header + "".join(lines[:cut]))
    write(folder / "in" / "b.csv", header + "".join(lines[cut:]))
    whole = run(folder / "whole", {"t": write(folder / "all.csv", CSV)})
    parts = run(folder / "parts", {"t": str(folder / "in")}, rows_per_shard=shard)
    assert parts.manifest.digest == whole.manifest.digest


def test_a_query_joins_sources_and_row_order_does_not_matter(tmp_path: Path) -> None:
    names = write(tmp_path / "names.csv", "name,group\nn0,x\nn1,y\n")
    header, *lines = CSV.splitlines(keepends=True)
    sql = 'SELECT id, score, "group" FROM t JOIN names USING (name)'
    one = run(tmp_path / "1", {"t": write(tmp_path / "a.csv", CSV), "names": names}, sql=sql)
    turned = write(tmp_path / "b.csv", header + "".join(reversed(lines)))
    two = run(tmp_path / "2", {"t": turned, "names": names}, sql=sql)
    assert one.manifest.digest == two.manifest.digest
    assert sum(s.rows for s in one.manifest.splits.values()) == 40


def test_a_split_by_time_keeps_the_future_apart(tmp_path: Path) -> None:
    rows = "".join(f"2024-{m:02}-01,{m}\n" for m in range(1, 13))
    split = {"by": "time", "column": "day", "eval_from": "2024-09-01", "test_from": "2024-11-01"}
    data = run(tmp_path, {"t": write(tmp_path / "a.csv", "day,month\n" + rows)}, split=split)
    months = {name: data.table(name)["month"].to_pylist() for name in ("train", "eval", "test")}
    assert months == {"train": list(range(1, 9)), "eval": [9, 10], "test": [11, 12]}


def test_bad_rows_are_kept_with_file_line_and_reason(tmp_path: Path) -> None:
    bad = CSV.replace("7,n2,1.75\n", "7,n2,1.75,extra\n")
    source = {"t": write(tmp_path / "a.csv", bad)}
    assert "a.csv:9: " in fails(tmp_path, source)
    data = run(tmp_path, source, on_bad_rows="quarantine", max_bad_fraction=0.05)
    (kept,) = (data.path / "quarantine" / "t.jsonl").read_text().splitlines()
    found = json.loads(kept)
    assert Path(found["file"]).name == "a.csv"
    assert (found["line"], found["text"]) == (9, "7,n2,1.75,extra")
    assert found["reason"]
    assert data.manifest.quarantined == 1
    assert sum(s.rows for s in data.manifest.splits.values()) == 99
    assert "at most 0.50% bad rows" in fails(
        tmp_path / "strict", source, on_bad_rows="quarantine", max_bad_fraction=0.005
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "sources.t: FOLDER/a.csv: the file is empty"),
        ("a.csv", b"id,name,score\n", "no rows"),
        ("a.csv", b"id,id\n1,2\n", "id"),
        ("a.csv", b"id,name\n1,\xff\xfe\xfa\n", "a.csv"),
        ("a.parquet", b"PAR1" + b"\0" * 40, "a.parquet"),
        ("a.xyz", b"1", "sources.t: the format does not follow from the file names; got a.xyz"),
    ],
)
def test_a_bad_file_is_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    assert message in fails(tmp_path, {"t": write(tmp_path / name, content)})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    text = fails(tmp_path, {"t": str(tmp_path / "gone.csv")})
    assert text == "sources.t: no file matches; got FOLDER/gone.csv; check the path"


def test_two_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.csv", "id,name\n1,x\n")
    write(tmp_path / "in" / "b.csv", "id,nome\n2,y\n")
    assert "b.csv" in fails(tmp_path, {"t": str(tmp_path / "in")})


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "sql: "),
        ("SELECT nome FROM t", "sql: "),
        ("SELECT * FROM u", "sql: "),
        ("SELECT *, random() AS r FROM t", "random"),
        ("SELECT *, now() AS n FROM t", "now"),
        ("SELECT * FROM read_csv('/etc/passwd')", "sql"),
        ("DROP TABLE t", "sql"),
    ],
)
def test_a_bad_query_is_one_line(sql: str, message: str, tmp_path: Path) -> None:
    text = fails(tmp_path, {"t": write(tmp_path / "a.csv", CSV)}, sql=sql)
    assert message in text


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"on_bad_rows": "ignore"}, "on_bad_rows: not allowed; got ignore; expected fail or"),
        ({"max_bad_fraction": 2.0}, "max_bad_fraction: out of range; got 2.0; expected 0 to 1"),
        ({"split": {"by": "luck"}}, "split"),
        ({"split": {"by": "hash", "key": ["idd"], "eval": 0.1, "test": 0.1}}, "idd"),
        ({"split": {"by": "time", "column": "nme", "eval_from": 1, "test_from": 2}}, "nme"),
    ],
)
def test_a_bad_parameter_is_one_line(
    parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in fails(tmp_path, {"t": write(tmp_path / "a.csv", CSV)}, **parameters)


def test_a_file_that_changed_since_it_was_pinned_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", CSV)
    pinned = {"t": pin("t", parse_sources({"t": source})["t"])}
    write(tmp_path / "a.csv", CSV + "100,n,1\n")
    with pytest.raises(KfpSuiteError, match="the file changed since it was resolved"):
        ingest(IngestParameters(split=HASH), pinned, tmp_path / "dataset", tmp_path / "preview")
    assert not (tmp_path / "dataset").exists()


JSON_LINES = (
    '{"id": 1, "a": 1}\n{"id": 2, "a":\n\n[3]\n{"id": 4, "a": "seven"}\n{"id": 5, "a": 5}\n'
)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_bad_lines_of_json_are_kept_with_file_line_and_reason(name: str, tmp_path: Path) -> None:
    content = JSON_LINES.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    source = {"uri": str(tmp_path / name), "types": {"a": "int64"}}
    split = {"by": "hash", "key": ["id"], "eval": 0, "test": 0}
    more = {"on_bad_rows": "quarantine", "max_bad_fraction": 0.7, "split": split}
    dataset = run(tmp_path, {"t": source}, **more)
    assert dataset.table("train").to_pylist() == [{"id": 1, "a": 1}, {"id": 5, "a": 5}]
    assert dataset.manifest.quarantined == 3
    kept = (dataset.path / "quarantine" / "t.jsonl").read_text().splitlines()
    assert [(row["line"], row["column"], row["reason"]) for row in map(json.loads, kept)] == [
        (2, None, "not JSON: expecting value"),
        (4, None, "not an object"),
        (5, "a", "'a' is not of type int64"),
    ]


def test_a_bad_line_of_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(JSON_LINES)
    source = {"uri": str(tmp_path / "a.jsonl"), "types": {"a": "int64"}}
    assert fails(tmp_path, {"t": source}) == (
        "FOLDER/a.jsonl:2: not JSON: expecting value (3 bad rows, 60.00%); "
        'got {"id": 2, "a":; expected none (on_bad_rows is fail); '
        "mend the row, or set on_bad_rows: quarantine with a max_bad_fraction"
    )
    (tmp_path / "b.jsonl").write_text("not json\n")
    said = fails(tmp_path, {"t": str(tmp_path / "b.jsonl")})
    assert "the first is refused: not JSON: expecting value; got not json" in said


def test_a_type_of_json_leaves_the_other_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "zip": 2139}\n{"id": 2, "zip": 10001}\n')
    source = {"uri": str(tmp_path / "a.jsonl"), "types": {"zip": "string"}}
    split = {"by": "hash", "key": ["id"], "eval": 0, "test": 0}
    dataset = run(tmp_path, {"t": source}, split=split)
    assert dataset.table("train").to_pylist() == [
        {"id": 1, "zip": "2139"},
        {"id": 2, "zip": "10001"},
    ]
    wrong = {"uri": str(tmp_path / "a.jsonl"), "types": {"zipp": "string"}}
    assert "no column 'zipp'; did you mean 'zip'?" in fails(tmp_path / "b", {"t": wrong})


def test_another_encoding_is_named_also_where_a_number_was_expected(tmp_path: Path) -> None:
    content = CSV.replace("n3,", "caf\xe9,").encode("latin-1")
    (tmp_path / "a.csv").write_bytes(content)
    message = fails(tmp_path, {"t": {"uri": str(tmp_path / "a.csv"), "types": {"name": "int64"}}})
    assert "FOLDER/a.csv:5: not utf-8" in message
    assert message.endswith("give the file's encoding, such as sources.t.encoding: cp1252")
