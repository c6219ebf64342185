import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from milepost.callbacks import World
from milepost.errors import CoverageError, EvaluationError, UnknownNameError
from milepost.runners._feed import Feed
from milepost.runners._source import Loading

N = 10
values = torch.arange(N, dtype=torch.float32)
dataset = TensorDataset(values, values.long() % 3)


class Rank(World):
    """A world to read a share in; nothing is gathered."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def gather(self, value: Any) -> list[Any]:
        raise AssertionError

    broadcast = share = gather  # type: ignore[assignment]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(value, int(value) % 3) for value in values])


class Reiterable:
    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def read(
    data: Any,
    size: int = 1,
    loading: Loading | None = None,
    fields: tuple[str, ...] | None = None,
    declared: int | None = None,
) -> list[Any]:
    """Return (id, first field) of all rows, rank by rank, in the order of reading."""
    rows: list[Any] = []
    loading = loading or Loading()
    feeds = [Feed(data, fields=fields, size=declared, loading=loading) for _ in range(size)]
    draws = [feed.draw() for feed in feeds]
    for rank, feed in enumerate(feeds):
        for batch in feed.open(Rank(rank, size), draws):
            first = next(iter(batch.fields.values()))
            rows.extend(zip(batch.ids.tolist(), np.asarray(first).tolist(), strict=True))
    return rows


EVERYTHING = [(i, float(i)) for i in range(N)]

SOURCES: dict[str, Any] = {
    "dataset": lambda: dataset,
    "loader": lambda: DataLoader(dataset, batch_size=3),
    "shuffled loader": lambda: DataLoader(dataset, batch_size=3, shuffle=True),
    "loader that drops the last": lambda: DataLoader(dataset, batch_size=4, drop_last=True),
    "padding sampler": lambda: DataLoader(
        dataset, sampler=DistributedSampler(dataset, num_replicas=3, rank=0)
    ),
    "sampler": lambda: DataLoader(dataset, sampler=SubsetRandomSampler(range(N))),
    "batch sampler": lambda: DataLoader(
        dataset, batch_sampler=[[9, 8, 7], [0], [1, 2, 3, 4, 5, 6]]
    ),
    "loader of batches": lambda: DataLoader(
        [values[:6], values[6:]],  # type: ignore[arg-type]
        batch_size=None,
    ),
    "iterable dataset": Stream,
    "iterable dataset with workers": lambda: DataLoader(Stream(), batch_size=3, num_workers=2),
    "columns": lambda: {"value": values.numpy(), "label": [str(i) for i in range(N)]},
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


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    loading = Loading(batch_size=3, num_workers=workers)
    assert read(dataset, loading=loading) == EVERYTHING
    assert read(Stream(), loading=loading) == EVERYTHING


def test_a_subset_keeps_the_positions_of_the_dataset_as_ids() -> None:
    loader = DataLoader(dataset, sampler=SubsetRandomSampler([7, 2, 5]))
    assert sorted(read(loader, 2)) == [(2, 2.0), (5, 5.0), (7, 7.0)]


def test_batches_of_a_batch_sampler_stay_together() -> None:
    loader = DataLoader(dataset, batch_sampler=[[9, 8], [0]])
    feed = Feed(loader, fields=None, size=None, loading=Loading())
    ids = [batch.ids.tolist() for batch in feed.open(Rank(0, 1), [feed.draw()])]
    assert ids == [[9, 8], [0]]


def test_ranks_whose_samplers_share_the_set_already_keep_their_shares() -> None:
    class Mine(SubsetRandomSampler):
        pass

    feeds = [
        Feed(
            DataLoader(dataset, sampler=Mine(range(rank, N, 2))),
            fields=None,
            size=None,
            loading=Loading(),
        )
        for rank in range(2)
    ]
    draws = [feed.draw() for feed in feeds]
    ids = [
        [i for batch in feed.open(Rank(rank, 2), draws) for i in batch.ids.tolist()]
        for rank, feed in enumerate(feeds)
    ]
    assert ids == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]


def test_ranks_whose_samplers_overlap_are_an_error() -> None:
    feeds = [
        Feed(
            DataLoader(dataset, sampler=SubsetRandomSampler(subset)),
            fields=None,
            size=None,
            loading=Loading(),
        )
        for subset in ([0, 1], [1, 2])
    ]
    draws = [feed.draw() for feed in feeds]
    with pytest.raises(ValueError, match="differ and overlap"):
        feeds[0].open(Rank(0, 2), draws)


@pytest.mark.parametrize(
    "sampler",
    [
        RandomSampler(dataset, replacement=True),
        WeightedRandomSampler([1.0] * N, N, replacement=True),
    ],
)
def test_a_sampler_that_draws_with_replacement_is_an_error(sampler: Any) -> None:
    message = (
        f"`data` must give each sample once, got a {type(sampler).__name__} that draws with "
        "replacement; pass the dataset itself"
    )
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        read(DataLoader(dataset, sampler=sampler))


def test_a_batch_sampler_that_repeats_positions_is_an_error() -> None:
    with pytest.raises(ValueError, match="drew 3 positions, 2 of them distinct"):
        read(DataLoader(dataset, batch_sampler=[[1, 2], [1]]))


def test_a_wrapped_batch_sampler_is_seen_through() -> None:
    class Shards:  # as Accelerate's, which gives some batches twice
        def __init__(self, inner: BatchSampler) -> None:
            self.batch_sampler = inner

        def __iter__(self) -> Iterator[Any]:
            return iter([*self.batch_sampler, *self.batch_sampler])

    inner = BatchSampler(RandomSampler(dataset), 3, drop_last=False)
    assert sorted(read(DataLoader(dataset, batch_sampler=Shards(inner)))) == EVERYTHING


def test_a_stream_that_shards_itself_must_give_ids() -> None:
    class Sharded(Stream):
        sharded = True

    with pytest.raises(ValueError, match=r"^a source that shards itself must give a field `id`$"):
        read(Sharded())
    assert len(read(Sharded(), fields=("value", "id"))) == N


def test_the_field_id_is_the_id() -> None:
    columns = {"value": values.numpy(), "id": np.array([f"n{i}" for i in range(N)])}
    assert read(columns) == [(f"n{i}", float(i)) for i in range(N)]


def test_an_id_that_is_no_integer_or_string_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"^the field `id` must be 64-bit integers or strings \(N,\)"
    ):
        read({"value": values.numpy(), "id": values.numpy()})


def test_a_collate_function_that_drops_rows_is_an_error() -> None:
    loader = DataLoader(dataset, batch_size=4, collate_fn=lambda rows: values[: len(rows) - 1])
    message = "a batch of 4 samples came back with 3 rows; a collate function that drops or adds"
    with pytest.raises(CoverageError, match=rf"^{message}"):
        read(loader)


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


def test_roles_keep_their_own_ids() -> None:
    feed = Feed(
        {"query": dataset, "gallery": {"x": np.zeros(3)}},
        fields=None,
        size={"gallery": 3},
        loading=Loading(batch_size=20),
    )
    batches = list(feed.open(Rank(0, 1), [feed.draw()]))
    assert [(b.role, b.ids.tolist()) for b in batches] == [
        ("query", list(range(N))),
        ("gallery", [0, 1, 2]),
    ]


def test_a_size_for_a_role_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="unknown role 'galery'; did you mean 'gallery'"):
        Feed({"gallery": dataset}, fields=None, size={"galery": 3}, loading=Loading())


def test_data_of_no_known_kind_is_an_error() -> None:
    with pytest.raises(
        TypeError, match=r"^`data` must be a torch Dataset or DataLoader, .*, got int$"
    ):
        Feed(3, fields=None, size=None, loading=Loading())


def test_reading_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    read(DataLoader(dataset, batch_size=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_dataset_without_iteration_is_read_by_its_items() -> None:
    class Items:
        def __len__(self) -> int:
            return N

        def __getitem__(self, index: int) -> Any:
            return values[index], 0

    assert read(Items()) == EVERYTHING


class FirstHalf(SequentialSampler):
    """A sampler of one's own that leaves rows out."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(N // 2))


@pytest.mark.parametrize("sampler", [SequentialSampler(range(N // 2)), FirstHalf(dataset)])
def test_a_sampler_that_leaves_rows_out_is_heeded(sampler: Any) -> None:
    assert read(DataLoader(dataset, sampler=sampler), 2) == EVERYTHING[: N // 2]


def test_a_loader_with_an_iteration_of_its_own_is_read_as_it_iterates() -> None:
    class Tenth(DataLoader[Any]):
        def __iter__(self) -> Any:
            return iter([batch[0] / 10 for batch in super().__iter__()])

    rows = read(Tenth(dataset, batch_size=4))
    assert [value for _, value in rows] == pytest.approx([i / 10 for i in range(N)])


def test_batches_that_a_dataset_makes_itself_cannot_be_cut() -> None:
    batches: Any = [values[:6], values[6:]]
    loader: DataLoader[Any] = DataLoader(batches, batch_size=None)
    with pytest.raises(ValueError, match=r"^`batch_size` cannot be changed"):
        read(loader, loading=Loading(batch_size=2))


def test_a_generator_that_the_training_shares_is_given_back() -> None:
    shared = torch.Generator().manual_seed(0)
    before = shared.get_state()
    read(DataLoader(dataset, sampler=SubsetRandomSampler(range(N), generator=shared)))
    batches: Any = [values[:6], values[6:]]
    read(DataLoader(batches, batch_size=None, shuffle=True, generator=shared))
    assert torch.equal(shared.get_state(), before)


def test_positions_reach_a_dataset_as_plain_integers() -> None:
    class Strict(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            assert type(index) is int
            return values[index], 0

    assert read(Strict(values)) == EVERYTHING


def test_a_length_that_is_not_known_is_none() -> None:
    class Unknown(Stream):
        def __len__(self) -> int:
            msg = "unknown"
            raise TypeError(msg)

    assert read(Unknown()) == EVERYTHING


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


class Doubled(TensorDataset):
    def __getitem__(self, index: int) -> Any:
        return tuple(2 * tensor[index] for tensor in self.tensors)


@pytest.mark.parametrize("batch_sampler", [None, [[9, 8, 7], [0]]])
def test_tensors_in_memory_are_read_as_a_loader_reads_them(batch_sampler: Any) -> None:
    tensors = values, values.reshape(N, 1).half(), values > 4
    own = DataLoader(TensorDataset(*tensors), batch_sampler=batch_sampler)
    for loader in (own, DataLoader(Doubled(*tensors), batch_sampler=batch_sampler)):
        feed = Feed(loader, fields=("a", "b", "c"), size=None, loading=Loading())
        read = [list(batch.fields.values()) for batch in feed.open(Rank(0, 1), [feed.draw()])]
        for batch, expected in zip(read, loader, strict=True):
            torch.testing.assert_close(batch, expected, rtol=0, atol=0)


def test_an_array_in_a_file_does_not_lie_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(3))
    columns = {"x": np.load(tmp_path / "x.npy", mmap_mode="r")}
    assert not Feed(columns, fields=None, size=None, loading=Loading()).in_memory


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([{"x": np.ones(3)}], True),
        (((np.ones(3),),), True),
        ({"x": np.ones(3), "y": torch.ones(3)}, True),
        ({"query": [np.ones(3)], "gallery": {"x": [1, 2]}}, True),
        ({"query": [np.ones(3)], "gallery": iter([np.ones(3)])}, False),
        (dataset, True),
        (DataLoader(dataset, shuffle=True), True),
        (DataLoader(dataset, num_workers=1), False),
        (DataLoader(dataset, collate_fn=list), False),
        (Doubled(values), False),
        (Subset(dataset, [1]), False),
    ],
)
def test_batches_arrays_and_datasets_of_tensors_lie_in_memory(data: Any, expected: bool) -> None:
    assert Feed(data, fields=None, size=None, loading=Loading()).in_memory is expected
