"""The hash of a category (see `hashing`) in TensorFlow: BLAKE2b with a digest of 8 bytes.

RFC 7693, vectorized over rows; the fixed words and schedules are the standard's.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_BLOCK = 128
_INITIAL = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
_SCHEDULES = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_ROUNDS = 12
# Columns, then diagonals, of the 4 x 4 words.
_MIXED = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)
# Digest length 8, no key, fan-out and depth 1.
_PARAMETERS = 0x01010008


def stable_hash(texts: Any) -> Any:
    """The 64-bit hash of each text: uint64, of the shape (rows,) of `texts`."""
    return _hash(texts)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _hash(texts: Any) -> Any:
    # Padded to whole blocks: all texts go through as many as the longest needs, and the
    # state of a text stops changing after its own last block.
    length = tf.cast(tf.strings.length(texts), tf.int64)
    blocks = tf.maximum((length + _BLOCK - 1) // _BLOCK, 1)
    most = tf.reduce_max(tf.concat([blocks, [1]], 0))
    first = _word(_INITIAL[0] ^ _PARAMETERS)
    state = tuple(
        tf.fill(tf.shape(texts), first if i == 0 else _word(value))
        for i, value in enumerate(_INITIAL)
    )

    def step(i: Any, state: Any) -> Any:
        part = tf.strings.substr(
            texts,
            tf.minimum(i * _BLOCK, length),
            tf.fill(tf.shape(texts), tf.constant(_BLOCK, tf.int64)),
        )
        raw = tf.io.decode_raw(part, tf.uint8, fixed_length=_BLOCK)
        words = tf.unstack(tf.bitcast(tf.reshape(raw, [-1, 16, 8]), tf.uint64), axis=1)
        last = i == blocks - 1
        counter = tf.cast(tf.where(last, length, (i + 1) * _BLOCK), tf.uint64)
        after = _compress(state, words, counter, last)
        going = i < blocks
        return i + 1, tuple(
            tf.where(going, new, old) for new, old in zip(after, state, strict=True)
        )

    _, state = tf.while_loop(lambda i, _: i < most, step, (tf.constant(0, tf.int64), state))
    return state[0]


def _compress(state: Any, words: Any, counter: Any, last: Any) -> list[Any]:
    v = [*state, *(tf.fill(tf.shape(counter), _word(value)) for value in _INITIAL)]
    v[12] = tf.bitwise.bitwise_xor(v[12], counter)
    v[14] = tf.where(last, tf.bitwise.invert(v[14]), v[14])
    for i in range(_ROUNDS):
        s = _SCHEDULES[i % len(_SCHEDULES)]
        for j, (a, b, c, d) in enumerate(_MIXED):
            _mix(v, a, b, c, d, words[s[2 * j]], words[s[2 * j + 1]])
    return [
        tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(h, v[i]), v[i + 8])
        for i, h in enumerate(state)
    ]


def _mix(v: list[Any], a: int, b: int, c: int, d: int, x: Any, y: Any) -> None:
    v[a] = v[a] + v[b] + x
    v[d] = _rotated(tf.bitwise.bitwise_xor(v[d], v[a]), 32)
    v[c] = v[c] + v[d]
    v[b] = _rotated(tf.bitwise.bitwise_xor(v[b], v[c]), 24)
    v[a] = v[a] + v[b] + y
    v[d] = _rotated(tf.bitwise.bitwise_xor(v[d], v[a]), 16)
    v[c] = v[c] + v[d]
    v[b] = _rotated(tf.bitwise.bitwise_xor(v[b], v[c]), 63)


def _rotated(x: Any, bits: int) -> Any:
    """Rotated to the right."""
    return tf.bitwise.bitwise_or(
        tf.bitwise.right_shift(x, _word(bits)), tf.bitwise.left_shift(x, _word(64 - bits))
    )


def _word(value: int) -> Any:
    return tf.constant(value, tf.uint64)
