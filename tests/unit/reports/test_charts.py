"""Charts whose labels can be told apart."""

import re

from kfp_suite.components.reports.charts import heatmap
from kfp_suite.components.reports.formatting import distinct_labels


def test_labels_that_begin_alike_are_told_apart() -> None:
    towns = [f"Town number {i} of the county" for i in range(80)]
    for names in ([f"Town number {i}" for i in range(80)], towns, ["a", "b"], ["a" * 40, "b" * 40]):
        labels = distinct_labels(names, 14)
        assert len(set(labels)) == len(names)
        assert max(map(len, labels)) <= 14
    assert distinct_labels(["short", "Town number 12"], 14) == ["short", "Town number 12"]
    assert distinct_labels(["Town number 123", "Town number 124"], 12) == [
        "Town n…r 123",
        "Town n…r 124",
    ]


def test_a_confusion_matrix_of_many_long_classes_names_each() -> None:
    names = [f"Town number {i:02} by the river" for i in range(40)]
    matrix = [[10.0 if i == j else 0.0 for j in range(40)] for i in range(40)]
    drawn = re.findall(r'class="name"[^>]*>([^<]+)<', str(heatmap(matrix, names)))
    assert len(drawn) == 80
    assert len(set(drawn)) == 40
