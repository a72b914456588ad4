"""Sources in buckets: the same files as in a folder, through the real clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.contracts.errors import InputError
from kfp_suite.stores.sources import parse_sources, pin
from kfp_suite.stores.store import Store

FILES = {
    "a-b.csv": "i\n1\n",
    "a/1.csv": "i\n2\n",
    "a/_temporary/2.csv": "i\n3\n",
    "a/.3.csv": "i\n4\n",
    "_SUCCESS": "",
}

pytestmark = pytest.mark.parametrize("store", ["gs", "s3"], indirect=True)


@pytest.fixture
def remote(store: Store, tmp_path: Path) -> str:
    """The URI of the same layout in a bucket, with the objects that stand for folders."""
    for name, content in FILES.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(content)
        store.create(f"data/{name}", content.encode())
    store.create("data/a_$folder$", b"")
    client = getattr(store, "_client", None)  # a name that ends in / is none of a store's
    if client is not None:
        bucket = store.uri.split("/")[2]
        client.put_object(Bucket=bucket, Key="some/prefix/data/a/", Body=b"")
    else:
        store._bucket.blob("some/prefix/data/a/").upload_from_string(b"")  # type: ignore[attr-defined]
    return store.uri


@pytest.mark.parametrize("uri", ["data", "data/", "data/**/*.csv"])
def test_a_bucket_has_the_rows_of_a_folder(uri: str, remote: str, tmp_path: Path) -> None:
    digests, names = set(), []
    for root in (str(tmp_path), remote):
        pinned = {"t": pin("t", parse_sources({"t": {"uri": f"{root}/{uri}"}})["t"])}
        names.append([o.uri.split("/data/", 1)[1] for o in pinned["t"].objects])
        split = {"by": "hash", "eval": 0, "test": 0}
        dataset = ingest(IngestParameters(split=split), pinned, tmp_path / "d", tmp_path / "p")
        digests.add(dataset.manifest.digest)
    assert names == [["a-b.csv", "a/1.csv"]] * 2
    assert len(digests) == 1


def test_a_bucket_that_is_not_there_is_named_as_such(remote: str) -> None:
    scheme = remote.partition("://")[0]
    spec = parse_sources({"t": f"{scheme}://no-such-bucket-anywhere/a.csv"})["t"]
    with pytest.raises(InputError, match="no such bucket"):
        pin("t", spec)
    with pytest.raises(InputError, match="no object matches"):
        pin("t", parse_sources({"t": f"{remote}/data/*.parquet"})["t"])
