import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from milepost._sign_flips import sign_flip_p


def p_of(differences: Any, seed: int = 0) -> float:
    return float(sign_flip_p(np.asarray(differences, float)[:, None], seed=seed)[0])


@pytest.mark.parametrize("size", [1, 2, 5, 9, 12])
def test_few_differences_are_enumerated(size: int) -> None:
    rng = np.random.default_rng(size)
    differences = rng.integers(-3, 5, size).astype(float)  # with zeros, and ties of sums
    choices = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        >= abs(sum(differences)) - 1e-9
        for signs in itertools.product((-1, 1), repeat=size)
    ]
    assert p_of(differences) == pytest.approx(np.mean(choices), rel=1e-12)


@pytest.mark.parametrize("size", [8, 13, 40, 300])
def test_it_is_that_of_scipy(size: int) -> None:
    rng = np.random.default_rng(size)
    differences = rng.normal(0.4 / np.sqrt(size) * 4, 1, size)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=50_000, rng=rng
    ).pvalue
    spread = np.sqrt(expected * (1 - expected) * (1 / 10_000 + 1 / 50_000))
    assert p_of(differences) == pytest.approx(expected, abs=1e-12 if size < 14 else 4 * spread)


def test_no_difference_has_p_1_and_zeros_change_nothing() -> None:
    assert p_of([0.0, 0.0]) == 1.0
    assert p_of(np.zeros(0)) == 1.0
    assert p_of([1.0, 2.0, 3.0, 0.0, 0.0]) == p_of([1.0, 2.0, 3.0]) == 0.25


def test_it_is_never_0_and_the_same_each_time() -> None:
    differences = np.random.default_rng(0).normal(3, 1, 100)
    assert p_of(differences) == 1 / 10_001
    small = np.random.default_rng(0).normal(0.1, 1, 100)
    assert p_of(small) == p_of(small)
    assert p_of(small) != p_of(small, seed=1)


def test_columns_do_not_depend_on_each_other() -> None:
    differences = np.random.default_rng(0).normal(0.1, 1, (30, 3))
    differences[8:, 1] = 0.0
    together = sign_flip_p(differences)
    assert together.tolist() == [p_of(column) for column in differences.T]


def test_without_an_effect_p_is_as_often_small_as_it_says() -> None:
    rng = np.random.default_rng(0)
    p = sign_flip_p(rng.exponential(size=(25, 400)) * rng.choice([-1, 1], (25, 400)))
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * np.sqrt(level / 400))
