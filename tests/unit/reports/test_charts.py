"""Charts whose labels can be told apart."""

import re

from kfp_suite.reports.charts import Interval, heatmap, intervals
from kfp_suite.reports.formatting import distinct_labels
from kfp_suite.reports.page import Page
from kfp_suite.reports.svg import FONT_SIZE


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


def test_letters_are_never_smaller_than_can_be_read() -> None:
    """Whatever the screen: a wide chart is scrolled in its own frame."""
    for width in (480.0, 640.0, 960.0):
        drawn = str(intervals([Interval("north", 0.5, 0.4, 0.6)], width=width))
        (least,) = re.findall(r"min-width:([\d.]+)px", drawn)
        assert float(least) / width * FONT_SIZE >= 8.8
    page = Page("Slices")
    page.figure(intervals([Interval("north", 0.5)]), wide=True)
    html = page.html()
    assert '<div class="chart-scroll"><svg' in html
    scrolled = re.findall(r"^(.+) \{ overflow-x: auto;", html, re.MULTILINE)
    assert scrolled == [".chart-scroll", ".scroll"]


def test_a_long_word_breaks_and_is_not_scrolled() -> None:
    (broken,) = re.findall(r"^(.+) \{ overflow-wrap: anywhere; \}", Page("x").html(), re.MULTILINE)
    assert set(broken.split(", ")) == {"h1", "h2", "h3", "p", "li", "dd", "figcaption"}


def test_a_column_of_sentences_is_given_room() -> None:
    page = Page("Rows")
    comment = "nothing to say, and sorry about that"
    page.table(["id", "town", "comment"], [[1, "Zürich", comment], [2, "Paris", None]])
    html = page.html()
    assert '<td class="wordy">nothing to say' in html
    assert '<th scope="col" class="wordy">comment</th>' in html
    assert '<th scope="row" class="right">1</th>' in html
    assert "<td>Zürich</td>" in html
