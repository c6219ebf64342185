"""Embeddings that are kept in half precision: half the bytes, and the scores of rounded rows."""

from typing import Any

import numpy as np
import pytest

from milepost.errors import NonFiniteError, UnknownNameError
from milepost.inferencers import Retrieval
from milepost.inferencers._pair_rows import PairRows, Storage
from milepost.neighbors import LpDistance, backend_of
from tests.inferencers.rounds import Array, assert_same, run, split, table
from tests.kinds import CONVERTERS

HALVES: tuple[Storage, ...] = ("float16", "bfloat16")


def rounded(x: Array, dtype: str) -> Array:
    """Round to the nearest number of so many bits, ties to even, without any half type."""
    significand, exponent = np.frexp(x.astype(np.float64))
    bits = 11 if dtype == "float16" else 8
    result: Array = np.ldexp(np.rint(np.ldexp(significand, bits)), exponent - bits)
    return result.astype(np.float32)


def rows_of(seed: int, count: int = 80, role: str = "query") -> Any:
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((count, 6)).astype(np.float32)
    return table(role, embeddings, rng.integers(0, 5, count), rng.permutation(3 * count)[:count])


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("options", [{}, {"distance": LpDistance(p=1)}, {"group": "label"}])
def test_scores_are_those_of_the_rounded_rows(dtype: Storage, options: dict[str, Any]) -> None:
    queries, gallery = rows_of(0), rows_of(1, 120, "gallery")
    options = {"k": (1, 9), **options}
    near = [{**rows, "output": rounded(rows["output"], dtype)} for rows in (queries, gallery)]
    if "group" in options:
        options["relevant"] = lambda a, b: abs(a - b) == 1
    expected = run([Retrieval(**options)], near)
    assert expected != run([Retrieval(**options)], [queries, gallery])
    for budget in (None, 3000):
        for convert in CONVERTERS:
            retrieval = Retrieval(**options, dtype=dtype)
            retrieval.max_memory_bytes = budget
            batches = [{**rows, "output": convert(rows["output"])} for rows in (queries, gallery)]
            assert_same(run([retrieval], batches), expected)
    shares = [
        [*own, *others]
        for own, others in zip(split(queries, 3, 7), split(gallery, 3, 9), strict=True)
    ]
    assert_same(run([Retrieval(**options, dtype=dtype) for _ in shares], *shares), expected)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("budget", [None, 500])
def test_the_rows_take_half_the_bytes_in_memory_and_in_a_file(
    dtype: Storage, budget: int | None
) -> None:
    rows = rows_of(2)
    collected = PairRows("output", "label", dtype=dtype)
    for batch in split(rows, 1, 7)[0]:
        collected.add(batch, budget)
    found = collected.of("query")
    assert found.embeddings.nbytes == rows["output"].nbytes // 2
    assert isinstance(found.embeddings, np.memmap) == (budget is not None)
    widened = backend_of(found.embeddings).rows32(found.embeddings)
    expected = rounded(rows["output"][np.argsort(rows["id"])], dtype)
    np.testing.assert_array_equal(widened, expected)


@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_is_to_the_nearest_ties_to_even(dtype: str) -> None:
    rng = np.random.default_rng(3)
    numbers = np.concatenate([rng.standard_normal(5000), [0.0, -0.0], np.arange(-4100, 4100)])
    numbers = numbers.astype(np.float32)[:, None]
    numbers = numbers[(abs(numbers) > 2**-14) | (numbers == 0)][:, None]
    for convert in CONVERTERS:
        x = convert(numbers)
        backend = backend_of(x)
        narrow = backend.narrowed(x, dtype)
        assert narrow.itemsize == 2
        np.testing.assert_array_equal(np.asarray(backend.rows32(narrow)), rounded(numbers, dtype))


def test_neighbours_are_shown_with_the_scores_of_the_rounded_rows() -> None:
    rows = rows_of(4)
    near = {**rows, "output": rounded(rows["output"], "bfloat16")}
    tables = []
    for dtype, batch in (("bfloat16", rows), ("float32", near)):
        retrieval = Retrieval(k=3, dtype=dtype)  # type: ignore[arg-type]
        retrieval.keep_evidence = True
        run([retrieval], [batch])
        tables.append(retrieval.evidence()["neighbors"])
    for name, column in tables[0].items():
        np.testing.assert_array_equal(column, tables[1][name])


def test_what_is_too_large_for_a_half_is_an_error_that_names_it() -> None:
    rows = {**rows_of(5, 3), "output": np.array([[1.0], [7e4], [2.0]]), "id": np.array([4, 5, 6])}
    message = r"^`output` is NaN or infinite as float16 in 1 of 3 rows of a batch; .* 'query': 5$"
    with pytest.raises(NonFiniteError, match=message):
        Retrieval(dtype="float16").update(rows)
    Retrieval(dtype="bfloat16").update(rows)
    with pytest.raises(UnknownNameError, match=r"^unknown dtype 'half'; .*'bfloat16', 'float16'"):
        Retrieval(dtype="half")  # type: ignore[arg-type]
