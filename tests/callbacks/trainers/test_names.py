"""The trainers by name, without their frameworks."""

import sys

import pytest

from milepost.callbacks import trainers
from milepost.callbacks.trainers import _resolve


def test_an_unknown_trainer_is_an_error_naming_the_nearest() -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(trainers, "kera")  # noqa: B009  # a type checker knows that there is none
    assert "unknown trainer 'kera'; did you mean 'keras'? There are: 'keras'" in str(caught.value)
    assert dir(trainers) == ["keras", "lightning", "transformers"]


def test_a_framework_that_is_missing_is_an_error_that_says_what_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("milepost.callbacks.trainers._")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError) as caught:
        _resolve("keras")
    assert str(caught.value) == (
        'keras is not installed; pip install "milepost[tensorflow]" brings it'
    )
