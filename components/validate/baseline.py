"""The statistics of an earlier dataset, to measure drift against."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from kfp_suite.contracts.errors import ContractError, MissingError, store_error

STATISTICS_FILE = "statistics.pb"


def read_baseline(
    location: str, where: str = "baseline_statistics"
) -> statistics_pb2.DatasetFeatureStatistics:
    """The train statistics of an earlier dataset.

    Args:
        location: A statistics artifact (a folder), a binary
            `DatasetFeatureStatisticsList` or its text form (`.pbtxt`). Of several datasets
            the one named `train` counts, else the first.
        where: The parameter, for errors.

    Raises:
        MissingError: there is no such file, or no statistics in the folder.
        ContractError: it is not a proto of statistics, or one without a dataset or columns.
    """
    path = Path(location.removeprefix("file://"))
    if path.is_dir():
        names = (STATISTICS_FILE, "Split-train/FeatureStats.pb", "FeatureStats.pb")
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise MissingError(
                "no statistics in the folder",
                where=f"{where}: {path}",
                expected=" or ".join(names),
                fix="give the statistics artifact of an earlier validate step",
            )
        path = found
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    try:
        content = path.read_bytes()
        if path.suffix == ".pbtxt":
            text_format.Parse(content.decode("utf-8"), proto)
        else:
            proto.ParseFromString(content)
    except OSError as error:
        raise store_error(error, f"{where}: {path}") from error
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise ContractError(
            "not a TensorFlow Metadata DatasetFeatureStatisticsList",
            where=f"{where}: {path}",
            fix="give the statistics artifact of an earlier validate step",
        ) from error
    if not proto.datasets:
        raise ContractError("the statistics hold no dataset", where=f"{where}: {path}")
    train = next((d for d in proto.datasets if d.name == "train"), proto.datasets[0])
    if not train.features:
        raise ContractError(
            "the statistics hold no columns",
            where=f"{where}: {path}",
            fix="give the statistics artifact of an earlier validate step",
        )
    return train
