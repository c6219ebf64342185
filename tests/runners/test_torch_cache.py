"""A gallery that did not change is not encoded again, and nothing else is ever found."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from milepost.callbacks import Loop, Record
from milepost.errors import UnknownNameError
from milepost.inferencers import Inferencer, Retrieval, ScalarStats
from milepost.predictors import Packed
from milepost.predictors._torch_predictor import TorchPredictor
from milepost.runners import Cache, InferenceRunner
from milepost.runners._cache_file import CacheFolder, Entry

IMAGES = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(50) % 5
DATA = TensorDataset(IMAGES, LABELS)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 4), nn.BatchNorm1d(4)
        self.most = 100

    def forward(self, input: Tensor) -> Tensor:
        if len(input) > self.most:
            raise MemoryError
        normed: Tensor = self.norm(self.linear(input))
        return normed


def net(kind: type[Net] = Net) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind()


def examine(model: nn.Module, data: Any = DATA, **options: Any) -> tuple[Any, Any]:
    """Return the metrics, and how many samples were found and how many were not."""
    records: list[Record] = []
    inferencers: list[Inferencer] = options.pop("inferencers", [Retrieval(k=(1, 5))])
    runner = InferenceRunner(data, inferencers, **{"batch_size": 8, **options})
    with Loop(model, monitors=[records.append]) as loop:
        metrics = runner.run(loop)
    timings = records[0].timings
    counts = [timings.get(f"validation/cache/{name}") for name in ("hits", "misses")]
    return metrics, tuple(counts)


def files(path: Path) -> list[Path]:
    return sorted(x for x in path.rglob("*") if x.is_file())


WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no thread": {"prefetch": 0},
    "autocast": {"autocast": "bfloat16"},
    "replicas": {"placement": ["cpu", "cpu"]},
    "a copy": {"weights": "snapshot"},
    "checked": {"trace_check": True, "placement": "local"},
    "an inner layer": {"inferencers": [Retrieval(embeddings="linear", k=(1,))]},
}


@pytest.mark.parametrize("way", WAYS)
def test_metrics_are_the_same_to_the_bit_with_and_without(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, nothing = examine(net(), **WAYS[way])
    assert nothing == (None, None)
    assert examine(net(), cache=tmp_path, **WAYS[way]) == (plain, (0, 50))
    monkeypatch.setattr(TorchPredictor, "forward", None)  # nobody runs the model
    assert examine(net(), cache=tmp_path, **WAYS[way]) == (plain, (50, 0))


def test_weights_that_come_back_are_found_again(tmp_path: Path) -> None:
    model = net()
    first = examine(model, cache=tmp_path)
    weight = model.linear.weight.data
    kept = weight.clone()
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert examine(model, cache=tmp_path)[1] == (0, 50)
    weight.copy_(kept)
    assert examine(model, cache=tmp_path) == (first[0], (50, 0))


def test_only_a_batch_that_changed_is_encoded(tmp_path: Path) -> None:
    examine(net(), cache=tmp_path)
    images = IMAGES.clone()
    images[20] += 1e-6
    plain, _ = examine(net(), TensorDataset(images, LABELS))
    assert examine(net(), TensorDataset(images, LABELS), cache=tmp_path) == (plain, (42, 8))
    swapped = TensorDataset(IMAGES.flip(0), LABELS.flip(0))
    assert examine(net(), swapped, cache=tmp_path)[1] == (0, 50)
    relabelled = TensorDataset(IMAGES, LABELS.flip(0))
    plain, _ = examine(net(), relabelled)
    assert examine(net(), relabelled, cache=tmp_path) == (plain, (50, 0))


def test_each_role_may_be_kept_alone(tmp_path: Path) -> None:
    data = {"query": TensorDataset(IMAGES[:9] + 1, LABELS[:9]), "gallery": DATA}
    cache = Cache(tmp_path, roles=("gallery",))
    plain, _ = examine(net(), data)
    assert examine(net(), data, cache=cache) == (plain, (0, 50))
    assert examine(net(), data, cache=cache) == (plain, (50, 0))
    with pytest.raises(UnknownNameError, match=r"^unknown role of the data 'galery'; did you mean"):
        examine(net(), data, cache=Cache(tmp_path, roles=("galery",)))


def test_rows_that_do_not_fit_into_memory_are_kept_in_pieces(tmp_path: Path) -> None:
    model = net()
    model.most = 4
    plain, _ = examine(model)
    assert examine(model, cache=tmp_path)[0] == plain
    assert examine(model, cache=tmp_path) == (plain, (50, 8))  # a try with 8 shows what fits


class Drawing(Net):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + torch.rand(1)


class Counting(Net):
    def forward(self, input: Tensor) -> Tensor:
        self.most += 1
        return super().forward(input)


class Watched(Net):
    def forward(self, input: Tensor) -> Tensor:
        print(os.environ["GAIN"])
        return super().forward(input)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Drawing, "it is not used: random numbers are drawn while the model runs"),
        (Counting, "it is not used: the evaluation changed the model"),
        (Watched, r"it is not used: the model \(Watched\) cannot be told .*refers to|run what is"),
    ],
)
def test_a_model_that_may_not_repeat_is_run_each_time(
    kind: type[Net], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIN", "1")
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match=f"^cache: {reason}"):
            metrics, (hits, _) = examine(net(kind), cache=tmp_path)
        assert metrics is not None
        assert hits == 0
        assert files(tmp_path) == []


def test_an_output_that_is_no_array_is_not_kept(tmp_path: Path) -> None:
    def forward(model: Net, batch: Any) -> dict[str, Any]:
        return {"output": list(model(batch["input"])[:, 0].numpy())}

    inferencers = [ScalarStats("output")]
    with pytest.warns(RuntimeWarning, match=r"^cache: it is not used: the output 'output' is a l"):
        examine(net(), cache=tmp_path, forward=forward, inferencers=inferencers)
    assert files(tmp_path) == []


def test_a_run_that_fails_keeps_what_it_had(tmp_path: Path) -> None:
    class Failing(list[Any]):
        def __iter__(self) -> Any:
            yield from list.__iter__(self)
            raise OSError

    batches = [[x, y] for x, y in zip(torch.split(IMAGES, 8), torch.split(LABELS, 8), strict=True)]
    with pytest.raises(OSError, match=r"^$"):
        examine(net(), Failing(batches[:3]), cache=tmp_path, batch_size=None)
    assert examine(net(), batches, cache=tmp_path, batch_size=None)[1] == (24, 26)


def cut(data: bytes) -> bytes:
    return data[:-1]


def flip(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


def future(data: bytes) -> bytes:
    content = data[:8] + b"\x02" + data[9:-32]
    return content + hashlib.blake2b(content, digest_size=32).digest()


@pytest.mark.parametrize("damage", [cut, flip, future, lambda _: b"", lambda _: b"x" * 99])
def test_a_file_that_is_not_whole_is_replaced(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    plain, _ = examine(net(), cache=tmp_path)
    for path in files(tmp_path):
        path.write_bytes(damage(path.read_bytes()))
    assert examine(net(), cache=tmp_path) == (plain, (0, 50))
    assert examine(net(), cache=tmp_path) == (plain, (50, 0))


def test_a_file_under_another_name_is_none(tmp_path: Path) -> None:
    plain, _ = examine(net(), cache=tmp_path)
    paths = files(tmp_path)
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    assert examine(net(), cache=tmp_path) == (plain, (0, 50))


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "notes.txt").write_text("mine")
    one, other = net(), net()
    other.linear.weight.data += 1
    examine(one, cache=tmp_path)
    size = sum(path.stat().st_size for path in files(tmp_path)) - 4
    for path in files(tmp_path):
        os.utime(path, (0, 0))
    cache = Cache(tmp_path, max_bytes=size + 10)
    examine(other, cache=cache)
    assert examine(other, cache=cache)[1] == (50, 0)
    assert (tmp_path / "ab" / "notes.txt").read_text() == "mine"
    assert examine(one, cache=cache)[1] == (0, 50)


def test_a_cache_that_is_too_small_keeps_a_part(tmp_path: Path) -> None:
    plain, _ = examine(net())
    examine(net(), TensorDataset(IMAGES[:24], LABELS[:24]), cache=tmp_path)
    size = sum(path.stat().st_size for path in files(tmp_path))
    for _ in range(2):
        cache = Cache(tmp_path, max_bytes=size + 10)
        with pytest.warns(RuntimeWarning, match=r"^cache: it holds a part of the outputs"):
            metrics, counts = examine(net(), cache=cache)
        assert (metrics, counts) == (plain, (24, 26))
        assert sum(path.stat().st_size for path in files(tmp_path)) == size


def test_a_folder_that_is_cleared_meanwhile_keeps_nothing(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "cache", 1000)
    written = {"ab": folder.write("ab", Entry((), {}))}
    shutil.rmtree(tmp_path / "cache")
    folder.keep(written)
    folder.shrink()
    assert folder.read("ab") is None


def test_metrics_are_not_lost_where_nothing_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: CacheFolder, written: Any) -> None:
        raise PermissionError(13, "not yours")

    plain, _ = examine(net())
    monkeypatch.setattr(CacheFolder, "keep", refuse)
    with pytest.warns(RuntimeWarning, match=r"^cache: not all could be kept .*not yours"):
        metrics, _ = examine(net(), cache=tmp_path)
    assert metrics == plain


def test_several_may_share_a_folder_at_once(tmp_path: Path) -> None:
    entry = Entry(("output",), {"output": Packed("float32", (2,), (1,), memoryview(b"01234567"))})
    keys = [f"{number:064x}" for number in range(20)]

    def share(_: int) -> list[Entry | None]:
        folder = CacheFolder(tmp_path, 10**6)
        for key in keys:
            folder.keep({key: folder.write(key, entry)})
            folder.shrink()
        return [folder.read(key) for key in keys]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(share, range(4))) == [[entry] * 20] * 4


SCRIPT = """
import sys
from pathlib import Path
from tests.runners.test_torch_cache import examine, net
print(examine(net(), cache=Path(sys.argv[1])))
"""


def test_another_process_finds_what_one_kept(tmp_path: Path) -> None:
    (first, kept), (second, found) = (in_a_process(tmp_path, seed) for seed in ("5", "7"))
    assert kept == (0.0, 50.0)
    assert found == (50.0, 0.0)
    assert second == first


def in_a_process(folder: Path, hash_seed: str) -> Any:
    """What an examination in a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    return ast.literal_eval(done.stdout)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, r"^`cache` must be a folder or a Cache, got 3$"),
        (True, r"^`cache` must be a folder or a Cache, got True$"),
    ],
)
def test_an_argument_that_is_no_cache_is_named(given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        InferenceRunner(DATA, [Retrieval()], cache=given)


def test_a_cache_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^`max_bytes` must be a whole number of at least 1"):
        Cache("here", max_bytes=0)
