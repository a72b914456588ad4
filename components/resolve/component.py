"""The KFP interface of resolve."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def resolve(
    sources: dict,
    pins: Output[Artifact],
    store: str = "",
    model_name: str = "",
    module_file: str = "",
) -> NamedTuple("Resolved", [("sources", str), ("module", str), ("champion", str)]):
    """Pin what may change: sources, the module file and the champion.

    KFP's cache looks at parameters, not at what a URI holds today. This step is never
    cached; it turns each reference into a text with a digest, so that every cached step
    after it runs again exactly when its input changed. It returns `sources` (JSON: name to
    URI, objects and digest; of very many objects the pin of a file
    in the store that holds them), `module` (JSON: URI and digest; empty for none) and
    `champion` (JSON: URI, version and manifest digest; empty for none).

    A folder and a bucket of the same layout name the same files, in the order of their
    names. In a pattern `*` and `?` stay within a name, and `**` is any number of folders.
    Names below a folder that begin with `.` or `_` are left out, as Hive and Spark do.
    Links are followed, each file is read once, and a link that leads to nothing is an error.

    Args:
        sources: Name to a URI, or to a mapping with `uri` (a path, pattern or folder,
            `package://NAME/path`, `gs://`, `s3://`, or `postgresql://user@host/name` with
            a `query`), `format` (csv, jsonl or parquet), `types` (column to int64, float64,
            bool, string, date or timestamp), for CSV and JSON Lines `formats` (column to
            the format of its dates or times, such as `%d/%m/%Y`), and for CSV `delimiter`,
            `header`, `encoding` (utf-8, utf-16, cp1252, …), `null_values`, `quote` and
            `escape`. Files may be compressed (gzip, zip, bzip2, xz, zstd).
        pins: A folder with `pins.json`: the three texts, for people.
        store: Where versions live, the rows of a database as they were read, and the pins of
            very many files: a folder, `gs://…` or `s3://…`; empty for no champion.
        model_name: The model whose champion is pinned.
        module_file: The user's Python module for train: a path, `gs://…` or `s3://…`;
            empty for none.
    """
    from pathlib import Path
    from typing import NamedTuple

    from kfp_suite.components.resolve.executor import resolve as execute
    from kfp_suite.stores.step import step

    with step("resolve", pins):
        resolved = execute(sources, module_file, store, model_name, Path(pins.path), pins.uri)

    class Resolved(NamedTuple):
        sources: str
        module: str
        champion: str

    return Resolved(resolved.sources, resolved.module, resolved.champion)
