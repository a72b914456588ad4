"""Counted and sketched strings."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_suite.components.validate import distinct, text
from kfp_suite.components.validate.distinct import hash_strings
from kfp_suite.components.validate.text import RowSample, StringColumn

SCHEMA = pa.schema([("x", pa.string())])


def column(values: Any, cap: Any = 4) -> Any:
    result = StringColumn(cap=cap)
    result.update(pa.array(values, pa.string()).dictionary_encode())
    return result


def state(c: Any) -> Any:
    sketch = None if c.sketch is None else c.sketch.tolist()
    return (
        c.rows,
        c.missing,
        c.total_bytes,
        c.shortest,
        c.longest,
        c.counts,
        c.distinct(),
        sketch and [sum(row) for row in sketch],
        c.counts_of(["", "a", "b", "ä"]),
    )


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_merging_parts_in_any_order_is_counting_at_once(data: Any) -> None:
    values = data.draw(st.lists(st.one_of(st.none(), st.text("abcä", max_size=2)), max_size=30))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    parts = [values[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
    partials = [column(part) for part in data.draw(st.permutations(parts))]
    while len(partials) > 1:
        other = partials.pop(data.draw(st.integers(1, len(partials) - 1)))
        partials[0].merge(other)
    assert state(partials[0]) == state(column(values))


@given(st.lists(st.text(), max_size=20))
def test_hashes_tell_strings_apart_wherever_they_lie(values: Any) -> None:
    array = pa.array(["before", *values], pa.string()).slice(1)
    hashes = hash_strings(array).tolist()
    assert hashes == [hash_strings(pa.array([v])).tolist()[0] for v in values]
    assert len(set(hashes)) == len(set(values))


def test_hashes_are_the_same_on_every_machine() -> None:
    assert hash_strings(pa.array(["", "a", "JFK"])).tolist() == HASHES


HASHES = [12035550249420947055, 13047048016646122790, 6561870859836432106]


def test_hashes_do_not_depend_on_the_windows_in_which_bytes_are_taken(monkeypatch: Any) -> None:
    values = ["", "a", "xy" * 40, "", "ä" * 17, "z", "", "", "q" * 23, ""]
    whole = hash_strings(pa.array(values)).tolist()
    for window in (1, 2, 7, 23, 64):
        monkeypatch.setattr(distinct, "_WINDOW_BYTES", window)
        assert hash_strings(pa.array(values)).tolist() == whole
        assert hash_strings(pa.array(values).slice(3, 6)).tolist() == whole[3:9]


def test_a_long_text_that_is_stored_once_is_shortened_before_it_is_sampled() -> None:
    long = pa.array(["x" * 1_000_000, "unused", "short"])
    indices = pa.array([0, None, 2] * 3_000, pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, long)
    sample, plain = RowSample(SCHEMA), RowSample(SCHEMA)
    before = pa.default_memory_pool().max_memory()
    sample.update(pa.record_batch([column], ["x"]), 0)
    assert pa.default_memory_pool().max_memory() - before < 100_000_000  # not 3,000 MB
    short = pa.array(["x" * 1_000_000, None, "short"])
    plain.update(pa.record_batch([short], schema=SCHEMA), 0)
    assert set(sample.column("x").to_pylist()) == set(plain.column("x").to_pylist())
    assert sample.column("x").null_count == 3_000


def test_frequent_values_are_found_among_very_many() -> None:
    generator = np.random.default_rng(5)
    rare = [f"user-{i}" for i in range(100_000)]
    values = rare + ["JFK"] * 5_000 + ["LGA"] * 1_000
    values = [values[i] for i in generator.permutation(len(values))]
    array = pa.array(values)
    c, sample = StringColumn(cap=1_000), RowSample(SCHEMA)
    for first in range(0, len(values), 10_000):
        part = array.slice(first, 10_000)
        c.update(part.dictionary_encode())
        sample.update(pa.record_batch([part], schema=SCHEMA), first)
    assert not c.exact
    assert c.distinct() == pytest.approx(100_002, rel=0.03)
    top = c.top(2, sample.column("x"))
    assert [value for value, _ in top] == ["JFK", "LGA"]
    assert 5_000 <= top[0][1] <= 5_010
    assert 1_000 <= top[1][1] <= 1_010


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=12), st.randoms())
@settings(max_examples=20, deadline=None)
def test_the_sample_of_rows_does_not_depend_on_how_they_are_cut(sizes: Any, random: Any) -> None:
    samples, first = [], 0
    for size in sizes:
        sample = RowSample(SCHEMA)
        sample.update(rows(first, size), first)
        samples.append(sample)
        first += size
    random.shuffle(samples)
    for other in samples[1:]:
        samples[0].merge(other)
    whole = RowSample(SCHEMA)
    whole.update(rows(0, first), 0)
    assert samples[0].column("x") == whole.column("x")
    assert len(whole.column("x")) == min(first, text.SAMPLE_ROWS)


def rows(first: Any, count: Any) -> Any:
    values = pa.array([str(i) for i in range(first, first + count)])
    return pa.record_batch([values], schema=SCHEMA)


def test_long_values_are_counted_by_their_start_and_a_digest() -> None:
    long, other = "ä" * 400, "ä" * 399 + "o"
    c = column([long, long, other, "short"])
    assert sorted(c.counts.values()) == [1, 1, 2]
    assert max(len(value) for value in c.counts) == 60 + 2 + 16
    assert (c.shortest, c.longest) == (5, 800)
    assert c.total_bytes == 3 * 800 - 1 + 5


def test_of_equally_frequent_values_the_larger_comes_first() -> None:
    assert column(["a", "b", "c", "c"]).top(3, pa.array([])) == [("c", 2), ("b", 1), ("a", 1)]
