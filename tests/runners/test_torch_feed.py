import re
from collections.abc import Iterator
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

from milepost.errors import CoverageError
from milepost.runners._feed import Feed
from milepost.runners._source import Loading
from tests.runners.feeds import EVERYTHING, N, Rank, read

values = torch.arange(N, dtype=torch.float32)
dataset = TensorDataset(values, values.long() % 3)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(value, int(value) % 3) for value in values])


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
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_every_source_gives_each_sample_once_over_all_ranks(name: str, size: int) -> None:
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


def test_a_collate_function_that_drops_rows_is_an_error() -> None:
    loader = DataLoader(dataset, batch_size=4, collate_fn=lambda rows: values[: len(rows) - 1])
    message = "a batch of 4 samples came back with 3 rows; a collate function that drops or adds"
    with pytest.raises(CoverageError, match=rf"^{message}"):
        read(loader)


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


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"x": np.ones(3), "y": torch.ones(3)}, True),
        (dataset, True),
        (DataLoader(dataset, shuffle=True), True),
        (DataLoader(dataset, num_workers=1), False),
        (DataLoader(dataset, collate_fn=list), False),
        (Doubled(values), False),
        (Subset(dataset, [1]), False),
    ],
)
def test_tensors_and_datasets_of_tensors_lie_in_memory(data: Any, expected: bool) -> None:
    assert Feed(data, fields=None, size=None, loading=Loading()).in_memory is expected
