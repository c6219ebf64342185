import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.errors import CoverageError, EvaluationError, UnknownNameError
from milepost.inferencers import Retrieval
from milepost.runners import evaluate
from milepost.runners._feed import Feed
from milepost.runners._source import Loading
from tests.kinds import CONVERTERS
from tests.runners.feeds import EVERYTHING, N, Rank, Reiterable, read

values = CONVERTERS[-1](np.arange(N, dtype=np.float32))  # tensors where torch is installed


SOURCES: dict[str, Any] = {
    "columns": lambda: {"value": np.asarray(values), "label": [str(i) for i in range(N)]},
    "list of batches": lambda: [(values[:4],), (values[4:8],), (values[8:],)],
    "re-iterable": lambda: Reiterable([values[:4], values[4:]]),
    "generator": lambda: (values[i : i + 1] for i in range(N)),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_every_source_gives_each_sample_once_over_all_ranks(name: str, size: int) -> None:
    if name == "generator" and size > 1:  # each rank has one of its own
        source = Reiterable([values[i : i + 1] for i in range(N)])
        assert sorted(read(source, size)) == EVERYTHING
        return
    assert sorted(read(SOURCES[name](), size)) == EVERYTHING


def test_the_field_id_is_the_id() -> None:
    columns = {"value": np.asarray(values), "id": np.array([f"n{i}" for i in range(N)])}
    assert read(columns) == [(f"n{i}", float(i)) for i in range(N)]


def test_an_id_that_is_no_integer_or_string_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"^the field `id` must be 64-bit integers or strings \(N,\)"
    ):
        read({"value": np.asarray(values), "id": np.asarray(values)})


def test_batches_of_three_elements_need_names() -> None:
    batches = [(values, values, values)]
    message = "`fields` must name the 3 elements of a batch, got ('input', 'label')"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        read(batches)
    assert len(read(batches, fields=("a", "b", "c"))) == N


def test_a_field_that_a_mapping_does_not_hold_is_an_error_naming_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown field 'lable'; did you mean 'label'"):
        read([{"label": values}], fields=("lable",))


def test_fields_whose_rows_disagree_are_an_error() -> None:
    with pytest.raises(ValueError, match="a: 10, b: 3"):
        read([{"a": values, "b": values[:3]}])


@pytest.mark.parametrize(("declared", "given"), [(5, 3), (2, 3)])
def test_a_declared_size_that_is_not_the_columns_own_is_an_error(declared: int, given: int) -> None:
    feed = Feed({"x": np.zeros(given)}, fields=None, size=declared, loading=Loading())
    message = f"`size` declares {declared} samples for role 'query', but its source holds {given}"
    with pytest.raises(CoverageError, match=rf"^{message}$"):
        feed.declared()


def test_an_endless_source_ends_at_its_declared_size() -> None:
    class Endless:
        def __iter__(self) -> Iterator[Any]:
            while True:
                yield values

    with pytest.raises(CoverageError, match="declares 15 samples, but gave 20 or more"):
        read(Endless(), declared=15)


def test_a_length_in_batches_that_is_not_met_is_an_error() -> None:
    class Short(Reiterable):
        def __len__(self) -> int:
            return 5

    message = r"^the source declares 5 batches \(its length\), but gave 3$"
    with pytest.raises(CoverageError, match=message):
        read(Short([values] * 3))


def test_a_one_shot_source_is_an_error_the_second_time() -> None:
    feed = Feed(iter([values]), fields=None, size=None, loading=Loading())
    assert len(list(feed.open(Rank(0, 1), [feed.draw()]))) == 1
    with pytest.raises(EvaluationError, match="is exhausted: it can be read once only"):
        list(feed.open(Rank(0, 1), [feed.draw()]))


def test_a_generator_that_was_read_elsewhere_is_exhausted() -> None:
    generator = (value for value in [values])
    list(generator)
    generator.close()
    with pytest.raises(EvaluationError, match="is exhausted"):
        read(generator)


@pytest.mark.parametrize(
    ("samples", "where"),
    [
        ([{"x": np.ones(3), "label": at} for at in (4, 5)], "field 'label' is a single value, 4"),
        (({"x": np.ones(3), "label": str(at)} for at in "ab"), "field 'label'.* value, 'a'"),
        ([(np.ones((1, 3)), np.float32(at)) for at in (1, 2)], "element 1 is a single value"),
        ([(values[0], values[at]) for at in (1, 1, 2)], "element 1 is a single value"),
    ],
)
def test_a_list_of_samples_is_an_error_that_says_what_to_do(samples: Any, where: str) -> None:
    message = (
        rf"^`data` must hold batches, got a list of samples: their {where}.* in the first; pass"
    )
    with pytest.raises(TypeError, match=message) as caught:
        evaluate(None, list(samples), [Retrieval(k=1)])
    assert str(caught.value).endswith("in a batch a field holds one value a row")


@pytest.mark.parametrize(
    "batches",
    [
        [{"value": values[at : at + 1], "label": [at]} for at in range(N)],  # of one row each
        [{"value": values[at : at + 1], "scale": 2.0, "kind": "a"} for at in range(N)],
        [(values[at : at + 1], np.array([at])) for at in range(N)],
        [values[at : at + 1] for at in range(N)],
    ],
)
def test_batches_of_one_row_and_with_constants_are_no_samples(batches: Any) -> None:
    assert len(read(batches)) == N


def test_data_of_no_known_kind_is_an_error() -> None:
    with pytest.raises(
        TypeError, match=r"^`data` must be a torch Dataset or DataLoader, .*, got int$"
    ):
        Feed(3, fields=None, size=None, loading=Loading())


def test_ranks_read_lists_of_several_lengths() -> None:
    batches = [{"x": np.eye(2), "tags": tags} for tags in ([[1], [2, 3]], [[], [4]])]
    feed = Feed(batches, fields=None, size=None, loading=Loading())
    own = [list(feed.open(Rank(rank, 2), [feed.draw()] * 2)) for rank in range(2)]
    assert [batch.fields["tags"] for (batch,) in own] == [batch["tags"] for batch in batches]


@pytest.mark.parametrize("labels", [[[1, 2], [3]], ["a", None]])
def test_a_list_beside_an_array_is_a_column_of_whatever_it_holds(labels: Any) -> None:
    data = {"output": np.eye(2), "label": labels}
    message = r"^`label` must be integers, .* got object of shape \(2,\); .* `labels=LabelSets\("
    with pytest.raises(ValueError, match=message):
        evaluate(None, data, [Retrieval(k=1)])


def test_ids_that_are_equal_are_equal_in_every_type() -> None:
    for ids in (np.arange(N, dtype=np.uint64), np.arange(N, dtype=np.int8)):
        feed = Feed({"x": values, "id": ids}, fields=None, size=None, loading=Loading())
        (batch,) = feed.open(Rank(0, 1), [feed.draw()])
        assert batch.ids.dtype == np.int64
    named = {"x": values, "id": np.array([b"n%d" % i for i in range(N)])}
    assert read(named)[3] == ("n3", 3.0)


def test_the_ranks_must_read_the_same_of_a_stream() -> None:
    feeds = [
        Feed([values[start:5], values[5:]], fields=None, size=None, loading=Loading())
        for start in (0, 1)
    ]
    for rank, feed in enumerate(feeds):
        list(feed.open(Rank(rank, 2), [feed.draw()] * 2))
    readings = [feed.readings() for feed in feeds]
    with pytest.raises(CoverageError, match=r"^the ranks did not read the same from the source"):
        feeds[0].check({"query": N}, readings)
    feeds[0].check({"query": N}, [readings[0], readings[0]])


def test_an_array_in_a_file_does_not_lie_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(3))
    columns = {"x": np.load(tmp_path / "x.npy", mmap_mode="r")}
    assert not Feed(columns, fields=None, size=None, loading=Loading()).in_memory


def test_a_size_for_a_role_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="unknown role 'galery'; did you mean 'gallery'"):
        Feed({"gallery": {"x": np.zeros(3)}}, fields=None, size={"galery": 3}, loading=Loading())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([{"x": np.ones(3)}], True),
        (((np.ones(3),),), True),
        ({"query": [np.ones(3)], "gallery": {"x": [1, 2]}}, True),
        ({"query": [np.ones(3)], "gallery": iter([np.ones(3)])}, False),
    ],
)
def test_batches_and_arrays_lie_in_memory(data: Any, expected: bool) -> None:
    assert Feed(data, fields=None, size=None, loading=Loading()).in_memory is expected


def test_items_without_torch_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class Items:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, position: int) -> int:
            return position

    monkeypatch.delitem(sys.modules, "milepost.runners._torch_source", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ImportError, match=r'^torch is not installed; pip install "milepost\[torch\]"'
    ):
        Feed(Items(), fields=None, size=None, loading=Loading())
