"""Patterns of texts that look like numbers or dates, but are not values of those types.

Text values have one grammar (`text_values`), so such texts stay texts. The patterns serve
hints: in the preview of a dataset and in its validation.
"""

from __future__ import annotations

from kfp_suite.contracts.text_values import PATTERNS

NUMBER = PATTERNS["float64"]
"""A number by the grammar of values."""
SEPARATED_THOUSANDS = r"-?[1-9]\d{0,2}(,\d{3})+(\.\d+)?|-?[1-9]\d{0,2}(_\d{3})+"
"""`1,234.5` or `1_234`. The first is also a number with a decimal comma, but then it would be
wrong by a factor of a thousand."""
DECIMAL_COMMA = r"-?\d{1,3}(\.\d{3})*,\d+|-?\d+,\d+"
"""`1.234,5`"""
NUMBER_WITH_UNIT = r"[$€£¥]\s?-?\d[\d.,]*|-?\d[\d.,]*\s?[$€£¥%]"
"""`$12.50` or `12 %`"""
DRESSED_NUMBER = (
    r"\s*[-+(]?\s*(?:[$€£¥]\s*)?[-+]?\d[\d.,' _]*(?:[eE][-+]?\d+)?\s*(?:[$€£¥%])?\s*\)?\s*"
)
"""Any of these, also in parentheses, with a plus, or with other separators."""
LOCAL_DATE = r"\d{1,2}([/.-])\d{1,2}\1(?:\d{4}|\d{2})(?:[ T].*)?"
"""`31.01.2013` or `1/31/13`, with or without a time: which number is the day is not known."""
