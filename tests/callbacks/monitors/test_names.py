import pytest

from milepost.callbacks.monitors._names import Names


def names() -> Names:
    return Names("it", refused="[^a-z0-9_/.]", filler="_", special={"@": "_at_"}, longest=20)


def test_a_name_that_is_taken_stays_as_it_is() -> None:
    assert names().of("train/loss_2.x") == "train/loss_2.x"
    assert names().translated == {}


def test_what_is_refused_is_replaced_and_known() -> None:
    some = names()
    assert some.of("hit@1") == some.of("hit@1") == "hit_at_1"
    assert some.of("a b") == "a_b"
    assert some.translated == {"hit_at_1": "hit@1", "a_b": "a b"}


@pytest.mark.parametrize(
    ("name", "path"),
    [("", "_"), ("/", "_/_"), ("/a", "_/a"), ("a//b", "a/_/b"), ("../a", "_/a"), ("a/.", "a/_")],
)
def test_a_name_is_a_path_that_stays_where_it_is(name: str, path: str) -> None:
    assert names().of(name) == path


def test_a_name_that_is_too_long_ends_in_a_digest() -> None:
    some = names()
    long = [some.of("x" * 30 + end) for end in "ab"]
    assert [name[:12] for name in long] == ["x" * 11 + "-"] * 2
    assert {len(name) for name in long} == {20}
    assert long[0] != long[1]
    assert list(some.translated.values()) == ["x" * 30 + "a", "x" * 30 + "b"]


@pytest.mark.parametrize(("first", "second"), [("hit@1", "hit_at_1"), ("hit_at_1", "hit@1")])
def test_two_names_are_never_one(first: str, second: str) -> None:
    some = names()
    assert some.of(first) == "hit_at_1"
    with pytest.warns(RuntimeWarning) as caught:
        new = some.of(second)
    assert new.startswith("hit_at_1-")
    assert some.of(second) == new
    assert some.translated[new] == second
    assert [str(warning.message) for warning in caught] == [
        f"{second!r} and {first!r} would have one name in it; the first is {new!r} there"
    ]
