"""A real PostgreSQL: its rows are kept as they were, typed, ordered and without a secret."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from adbc_driver_postgresql import dbapi

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.resolve.executor import resolve
from kfp_suite.contracts.dataset import SPLITS
from kfp_suite.contracts.errors import KfpSuiteError, TransientError
from kfp_suite.stores.sources import sources_from_json

QUERY = "SELECT * FROM birds"


def _program(name: str) -> str:
    found = shutil.which(name) or next(
        iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        pytest.skip("no PostgreSQL server; to run this: apt-get install postgresql")
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a database, without its password, which is in the environment."""
    initdb, postgres = _program("initdb"), _program("postgres")
    folder = tmp_path_factory.mktemp("postgresql")
    # PostgreSQL does not run as root.
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    data, password = folder / "data", folder / "password"
    password.write_text(secrets.token_hex())
    if user:
        for path in (folder, password):
            shutil.chown(path, "postgres", "postgres")
        for parent in folder.parents:  # pytest's folders are for their owner alone
            if parent.owner() == "root" and not parent.stat().st_mode & 1:
                parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(
        [initdb, "-D", data, "-U", "suite", "-A", "scram-sha-256", f"--pwfile={password}"],
        check=True,
        capture_output=True,
        cwd=folder,
        **user,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            postgres,
            "-D",
            data,
            "-p",
            str(port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        **user,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "ready to accept connections" in line:
            break
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", password.read_text())
        try:
            yield f"postgresql://suite@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture
def birds(server: str) -> Iterator[str]:
    execute(
        server,
        "CREATE TABLE birds (id int, name text, weight numeric(10,2), seen timestamptz, "
        "ringed boolean, ring uuid, notes jsonb)",
        "INSERT INTO birds SELECT i, 'bird ' || i % 7, i / 4.0, "
        "'2024-01-01 00:00+02'::timestamptz + i * interval '1 hour', i % 2 = 0, "
        "('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, "
        """json_build_object('i', i) FROM generate_series(1, 500) AS i""",
        "INSERT INTO birds (id) VALUES (0)",
    )
    yield server
    execute(server, "DROP TABLE birds")


def execute(server: str, *statements: str) -> None:
    with dbapi.connect(server, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def resolved(uri: str, store: Path, query: str = QUERY, **more: Any) -> str:
    sources = {"birds": {"uri": uri, "query": query, **more}}
    return resolve(sources, "", str(store), "birds", store.parent / "pins").sources


def fails(uri: str, store: Path, query: str = QUERY, **more: Any) -> str:
    with pytest.raises(KfpSuiteError) as caught:
        resolved(uri, store, query, **more)
    assert "\n" not in str(caught.value)
    assert not list(store.rglob("*.parquet"))
    return str(caught.value)


def test_rows_become_a_dataset_of_plain_types(birds: str, tmp_path: Path) -> None:
    pins = resolved(birds, tmp_path / "store")
    dataset = ingest(
        IngestParameters(split={"by": "hash", "key": ["id"]}),
        sources_from_json(pins),
        tmp_path / "dataset",
        tmp_path / "preview",
    )
    assert {c.name: c.type for c in dataset.manifest.columns} == {
        "id": "int64",
        "name": "string",
        "weight": "float64",
        "seen": "timestamp",
        "ringed": "bool",
        "ring": "string",
        "notes": "string",
    }
    rows = {row["id"]: row for split in SPLITS for row in dataset.table(split).to_pylist()}
    assert len(rows) == 501
    assert rows[0] == {"id": 0} | dict.fromkeys(list(rows[0])[1:])
    assert rows[3]["weight"] == 0.75
    assert rows[2]["seen"].isoformat() == "2024-01-01T00:00:00"
    assert rows[3]["ring"] == "00000000-0000-0000-0000-000000000003"
    assert rows[3]["notes"] == '{"i": 3}'


def test_the_same_rows_are_the_same_source_in_any_order(birds: str, tmp_path: Path) -> None:
    first = resolved(birds, tmp_path / "store", f"{QUERY} ORDER BY id")
    again = resolved(birds, tmp_path / "store", f"{QUERY} ORDER BY id DESC")
    digests = {sources_from_json(pins)["birds"].digest for pins in (first, again)}
    assert len(digests) == 1
    assert len(list((tmp_path / "store").rglob("*.parquet"))) == 1


def test_a_pinned_source_stays_when_the_table_moves_on(birds: str, tmp_path: Path) -> None:
    before = sources_from_json(resolved(birds, tmp_path / "store"))["birds"]
    execute(birds, "DELETE FROM birds WHERE id > 100")
    after = sources_from_json(resolved(birds, tmp_path / "store"))["birds"]
    assert before.digest != after.digest
    rows = [pq.read_metadata(source.objects[0].uri).num_rows for source in (before, after)]
    assert rows == [501, 101]


@pytest.mark.parametrize("options", ["", "?options=-c%20TimeZone%3DAsia/Kolkata"])
def test_the_time_zone_changes_no_source(
    options: str, birds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "SELECT seen, seen::text AS text, seen::date AS day FROM birds"
    digests = set()
    try:
        for number, zone in enumerate(("UTC", "America/New_York")):
            with monkeypatch.context() as patch:
                patch.setenv("TZ", zone)
                patch.setenv("PGTZ", zone)
                patch.setenv("PGDATESTYLE", "ISO" if zone == "UTC" else "SQL, DMY")
                time.tzset()
                pins = resolved(birds + options, tmp_path / f"store{number}", query)
            digests.add(sources_from_json(pins)["birds"].digest)
    finally:
        time.tzset()
    assert len(digests) == 1


@pytest.mark.parametrize(
    "value", ["0.1", "12345678.25", "9007199254740992", "-1e300", "123456789012345.6", "NaN"]
)
def test_a_numeric_that_a_float_holds_is_kept(value: str, birds: str, tmp_path: Path) -> None:
    query = f"SELECT '{value}'::numeric AS a, id FROM birds"
    source = sources_from_json(resolved(birds, tmp_path / "store", query))["birds"]
    table = pq.read_table(source.objects[0].uri)
    assert table.schema.names == ["a", "id"]
    assert {str(a) for a in table["a"].to_pylist()} == {str(float(value))}


@pytest.mark.parametrize(
    "value", ["9007199254740993", "12345678901234567.1", "0.33333333333333333333"]
)
def test_a_numeric_that_no_float_holds_is_refused(value: str, birds: str, tmp_path: Path) -> None:
    query = f"SELECT id, CASE WHEN id = 400 THEN {value}::numeric ELSE id END AS amount FROM birds"
    message = fails(birds, tmp_path / "store", query)
    assert message == (
        "sources.birds.query: the value of 'amount' is not exact as float64; "
        f'got {value}; say in the query what may be lost, "amount"::float8, or keep all of it: '
        "::bigint for whole numbers, ::text for others"
    )
    kept = query.replace("END AS", "END::text AS")
    assert resolved(birds, tmp_path / "store", kept)


def test_a_query_may_end_in_a_comment(birds: str, tmp_path: Path) -> None:
    assert resolved(birds, tmp_path / "store", "SELECT id FROM birds -- all of them")


def test_no_secret_is_pinned(birds: str, tmp_path: Path) -> None:
    pins = resolved(birds, tmp_path / "store")
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert os.environ["PGPASSWORD"].encode() not in kept + pins.encode()
    with_password = birds.replace("suite@", "suite:open-sesame@")
    message = fails(with_password, tmp_path / "other")
    assert message == (
        "sources.birds.uri: a password in a parameter is recorded with the run; leave it out, "
        "and set PGPASSWORD or PGPASSFILE in the step's environment"
    )


def test_a_query_cannot_write(birds: str, tmp_path: Path) -> None:
    query = "WITH gone AS (DELETE FROM birds RETURNING *) SELECT * FROM gone"
    assert "the query failed" in fails(birds, tmp_path / "store", query)
    query = "SELECT 1) AS source; DELETE FROM birds; SELECT * FROM (SELECT 1 AS x"
    assert "the query failed" in fails(birds, tmp_path / "store", query)
    rows = sources_from_json(resolved(birds, tmp_path / "store", "SELECT count(*) FROM birds"))
    assert pq.read_table(rows["birds"].objects[0].uri).to_pylist() == [{"count": 501}]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "sources.birds.query: a database needs a query; expected one SELECT"),
        ("SELECT * FROM bird", 'the query failed; got relation "bird" does not exist'),
        ("SELEC 1", 'the query failed; got syntax error at or near "1"'),
        ("SELECT 1 AS a, 2 AS a", "two columns of one name; got a; rename one in the query"),
        ("SELECT 1 / (id - 7) AS x FROM birds", "the query failed; got division by zero"),
    ],
)
def test_a_bad_query_is_one_line(query: str, message: str, birds: str, tmp_path: Path) -> None:
    assert message in fails(birds, tmp_path / "store", query)


def test_a_refused_connection_says_what_to_check(birds: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    message = fails(birds.replace("suite@", "nobody@"), store)
    assert 'got password authentication failed for user "nobody"' in message
    assert message.endswith("check the user, the database's name, PGPASSWORD or PGPASSFILE")
    assert "does not exist" in fails(birds.replace("/postgres", "/nowhere"), store)


def test_no_connection_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="no connection; got connection to server"):
        resolved("postgresql://suite@127.0.0.1:1/postgres", tmp_path / "store")


def test_a_database_needs_a_store(tmp_path: Path) -> None:
    sources = {"birds": {"uri": "postgresql://suite@127.0.0.1:1/x", "query": QUERY}}
    with pytest.raises(KfpSuiteError, match="a place to keep its rows; give the parameter `store`"):
        resolve(sources, "", "", "birds", tmp_path / "pins")
