"""The KFP interface of ingest."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def ingest(
    sources: str,
    dataset: Output[Dataset],
    data_preview: Output[HTML],
    sql: str = "",
    split: dict = {},
    on_bad_rows: str = "fail",
    max_bad_fraction: float = 0.0,
    rows_per_shard: int = 1000000,
    memory_limit: str = "4GB",
    max_query_seconds: int = 3600,
):
    """Read sources, query them, and split the rows into a digested Dataset.

    The same input gives the same digest on every machine, for any number of shards or
    threads. Memory stays flat as the data grow. Files are read as they were pinned by
    resolve: bytes that changed since are an error.

    A value in the dataset is exactly the value in the file, or its row is bad, or the run is
    refused with the line to add. The type of a CSV column is the narrowest that every value
    of all files is written in: `007`, `yes` and `01/02/2020` are text. A declared type holds
    exactly, or the row is bad. docs/reading.md has the rules, and the options of a format.

    A query reads the sources and nothing else, and gives the same rows whenever and
    wherever it runs. So these are refused: any statement but one SELECT; a table that is
    not a source, such as `pg_settings` or a file's name; the clock (`now()`,
    `current_date`, `age` of one time); random numbers and samples. Times are in UTC.
    Some results depend on the order in which rows are met: sums and averages of floats,
    windows, `first`, `any_value`, `arg_max`, `list`, `string_agg`, `DISTINCT ON`, `LIMIT`.
    Such a query runs on one thread, and meets the rows of a source in the order of all
    their columns, from left to right: that order decides wherever the query leaves it open.
    A value that its column cannot hold exactly (an integer beyond 64 bits, a decimal of
    more digits than a float64 has, nanoseconds) is an error and never rounded.

    Args:
        sources: Pinned sources: resolve's output `sources`.
        dataset: Parquet shards of `train`, `eval` and `test`, `dataset.json`, and
            `quarantine/` with the bad rows that were left out.
        data_preview: What the dataset holds, as one HTML page.
        sql: One SELECT (DuckDB's SQL) over the sources by their names: joins, filters,
            casts. Empty: the only source as it is.
        split: `{by: hash, key: [columns], eval: 0.1, test: 0.1, salt: text}` (fractions 0
            to 1; an empty key is all columns, and rows without a value of the key stay
            together, as one key), `{by: time, column, eval_from, test_from}` (ISO 8601 dates
            or times in quotes, an offset being converted to UTC, or numbers) or `{by: column,
            column}` (which holds train, eval or test).
        on_bad_rows: fail, or quarantine: keep what cannot be read, with file, line and
            reason, beside the dataset.
        max_bad_fraction: The largest fraction of bad rows that quarantine accepts, 0 to 1,
            of the rows that were read from the sources.
        rows_per_shard: Rows of a Parquet file, at least 1. Changes no digest.
        memory_limit: What the query may use before it spills to disk, such as 4GB. It
            changes no digest, except that of a query on one thread (see above) that spills:
            another limit may round its sums otherwise.
        max_query_seconds: How long the query may take, at least 1: a recursion without an
            end is stopped then.
    """
    from pathlib import Path

    from kfp_suite.components.ingest.executor import IngestParameters
    from kfp_suite.components.ingest.executor import ingest as execute
    from kfp_suite.stores.cached_outputs import METADATA_KEY
    from kfp_suite.stores.pins import folder_in, pinned_sources
    from kfp_suite.stores.step import step

    noted_in = folder_in(sources)
    with step("ingest", dataset, noted_in=noted_in):
        written = execute(
            IngestParameters(
                sql=sql,
                split=split,
                on_bad_rows=on_bad_rows,
                max_bad_fraction=max_bad_fraction,
                rows_per_shard=rows_per_shard,
                memory_limit=memory_limit,
                max_query_seconds=max_query_seconds,
            ),
            pinned_sources(sources),
            Path(dataset.path),
            Path(data_preview.path),
        )
        dataset.metadata["digest"] = written.manifest.digest
        if noted_in:
            dataset.metadata[METADATA_KEY] = noted_in
        for name, part in written.manifest.splits.items():
            dataset.metadata[f"{name}_rows"] = part.rows
