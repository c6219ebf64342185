"""Saved indexes: round trip, damage of every kind, and files that are not the right ones."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.errors import IndexFileError
from milepost.neighbors import DiskIndexer, ExactIndexer, FaissIndexer, IndexDetails, Indexer

KINDS: dict[str, Callable[[], Indexer]] = {
    "flat": FaissIndexer,
    "ivf": lambda: FaissIndexer("IVF4,PQ2x4"),
    "exact": ExactIndexer,
    "disk": DiskIndexer,
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())

GALLERY = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
DETAILS = IndexDetails(
    ids=np.array([f"image {number}" for number in range(60)]),
    labels=np.arange(60) % 7,
    normalized=False,
    model="abc",
)


def saved(make: Callable[[], Indexer], path: Path) -> Indexer:
    indexer = make()
    indexer.train(GALLERY)
    indexer.add(GALLERY)
    indexer.save(path, DETAILS)
    return indexer


def same(one: Indexer, other: Indexer) -> None:
    for x, y in zip(one.search(GALLERY, 5), other.search(GALLERY, 5), strict=True):
        np.testing.assert_array_equal(x, y)


@every_kind
def test_a_loaded_index_gives_the_same_and_grows(
    make: Callable[[], Indexer], tmp_path: Path
) -> None:
    indexer = saved(make, tmp_path / "index")
    fresh = make()
    details = fresh.load(tmp_path / "index")
    assert (details.model, details.normalized, details.label_sums) == ("abc", False, None)
    np.testing.assert_array_equal(details.ids, DETAILS.ids)
    np.testing.assert_array_equal(details.labels, DETAILS.labels)
    same(indexer, fresh)
    for grown in (indexer, fresh):
        grown.add(GALLERY[:3] + 1)
    same(indexer, fresh)
    fresh.save(tmp_path / "index")  # over the file that it was loaded from
    again = make()
    assert again.load(tmp_path / "index") == IndexDetails()
    same(indexer, again)


@every_kind
def test_every_cut_is_refused(make: Callable[[], Indexer], tmp_path: Path) -> None:
    path = tmp_path / "index"
    saved(make, path)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 7), 63, 64, 65, *range(len(whole) - 48, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(IndexFileError, match=r"index is damaged or cut short"):
            make().load(path)


@every_kind
def test_bytes_behind_the_end_are_refused(make: Callable[[], Indexer], tmp_path: Path) -> None:
    path = tmp_path / "index"
    saved(make, path)
    whole = path.read_bytes()
    for tail in (b"\0", b"x" * 40, whole):
        path.write_bytes(whole + tail)
        with pytest.raises(IndexFileError, match="its checksum does not agree; build it again"):
            make().load(path)


def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    saved(ExactIndexer, path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(IndexFileError):
            ExactIndexer().load(path)


def test_a_future_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "index"
    saved(ExactIndexer, path)
    whole = bytearray(path.read_bytes())
    whole[8:12] = struct.pack("<I", 2)
    path.write_bytes(whole)
    message = "is of format version 2, but this Milepost reads versions up to 1; install a newer"
    with pytest.raises(IndexFileError, match=message):
        ExactIndexer().load(path)


def test_another_format_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "index"
    path.write_bytes(b"IxF2" + bytes(200))
    with pytest.raises(IndexFileError, match=r"is not an index that Milepost saved: .*IxF2"):
        FaissIndexer().load(path)
    with pytest.raises(FileNotFoundError):
        FaissIndexer().load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("loader", "options", "message"),
    [
        (FaissIndexer(), {}, "the file holds an index of kind 'exact'; this indexer is of kind"),
        (ExactIndexer("dot"), {}, "the file's metric is 'l2'; make the indexer with it, this"),
        (ExactIndexer(), {"model": "xyz"}, r"made by other weights \(fingerprint abc; here xyz\)"),
        (ExactIndexer(), {"normalized": True}, "`normalize_embeddings` was False for the"),
    ],
)
def test_a_file_that_is_not_the_right_one_is_refused(
    loader: Indexer, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "index"
    saved(ExactIndexer, path)
    with pytest.raises(IndexFileError, match=message):
        loader.load(path, **options)
    assert len(loader) == 0


@every_kind
def test_another_dimension_is_refused_and_leaves_the_index(
    make: Callable[[], Indexer], tmp_path: Path
) -> None:
    path = tmp_path / "index"
    saved(make, path)
    indexer = make()
    other = np.random.default_rng(1).normal(size=(40, 6))
    indexer.train(other)
    indexer.add(other)
    message = "the file's dimension is 4; this index holds embeddings of dimension 6"
    with pytest.raises(IndexFileError, match=message):
        indexer.load(path)
    assert len(indexer) == 40
    indexer.reset()
    indexer.load(path)
    assert len(indexer) == 60


def test_ids_and_labels_are_one_for_each_embedding(tmp_path: Path) -> None:
    indexer = ExactIndexer()
    indexer.add(np.eye(3))
    with pytest.raises(ValueError, match=r"^`labels` must have one for each of the 3, got 2$"):
        indexer.save(tmp_path / "index", IndexDetails(labels=np.arange(2)))
    with pytest.raises(ValueError, match=r"^`ids` must have one for each of the 3, got 4$"):
        indexer.save(tmp_path / "index", IndexDetails(ids=np.arange(4)))


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "index"
    saved(ExactIndexer, path)
    whole = path.read_bytes()
    indexer = ExactIndexer()
    indexer.add(np.eye(3))
    with pytest.raises(ValueError, match="allow_pickle"):
        indexer.save(path, IndexDetails(labels=np.array([{}, {}, {}])))
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_index_outlives_the_file_that_it_was_loaded_from(tmp_path: Path) -> None:
    path = tmp_path / "index"
    indexer = saved(DiskIndexer, path)
    loaded = DiskIndexer()
    loaded.load(path)
    path.unlink()
    same(indexer, loaded)
