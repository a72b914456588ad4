"""Errors are one line, whatever their values hold."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_suite.contracts.errors import (
    DataError,
    InputError,
    KfpSuiteError,
    MissingError,
    StoreError,
    did_you_mean,
    store_error,
)


def test_an_error_says_what_where_got_expected_and_next() -> None:
    error = DataError(
        "not a number", where="flights.csv:7", got="abc", expected="an integer", fix="mend the row"
    )
    assert str(error) == ("flights.csv:7: not a number; got abc; expected an integer; mend the row")
    assert error.to_json()["exit_code"] == 2
    assert error.to_json()["type"] == "DataError"


@given(st.text(), st.text(), st.text() | st.binary() | st.integers())
def test_an_error_is_always_one_printable_line(what: str, where: str, got: object) -> None:
    text = str(KfpSuiteError(what, where=where, got=got))
    assert text.isprintable()


def test_a_long_value_is_cut() -> None:
    assert len(str(InputError("no", got="x" * 10_000))) < 300


def test_a_near_miss_is_named_and_otherwise_the_choices() -> None:
    assert did_you_mean("imput", ["impute", "clip"]) == "did you mean 'impute'?"
    assert did_you_mean("zzz", ["impute", "clip"]) == "known: clip, impute"
    assert did_you_mean("zzz", []) == "known: none"


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, StoreError, "no space left"),
        (errno.EACCES, StoreError, "permission denied"),
        (errno.ENOENT, MissingError, "no such file or folder"),
        (errno.EIO, StoreError, "Input/output error"),
    ],
)
def test_operating_system_errors_keep_their_meaning(
    number: int, kind: type[KfpSuiteError], words: str
) -> None:
    error = store_error(OSError(number, "Input/output error"), "out")
    assert type(error) is kind
    assert str(error).startswith(f"out: {words}")
