import json
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401 - left out where it is not installed

from tests.ranks import run_ranks

SCRIPT = Path(__file__).with_name("world_script.py")


pytestmark = pytest.mark.xdist_group("world")  # whose ranks run once


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two ranks saw."""
    folder = tmp_path_factory.mktemp("ranks")
    assert run_ranks(2, SCRIPT, "agree", folder) == [0, 0]
    saw = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [*saw, [json.loads(line)["v/x"] for line in lines]]


def test_ranks_gather_and_broadcast_in_rank_order(ranks: list[Any]) -> None:
    for saw, _ in ranks[:2]:
        assert saw["gather"] == [{"rank": 0}, {"rank": 1}]
        assert saw["broadcast"] == [0, 1]


def test_arrays_of_every_kind_are_shared_as_they_are(ranks: list[Any]) -> None:
    (other, _), (source, _) = ranks[:2]
    assert other["share"] == source["share"]
    kinds = {name: got[:3] for name, got in other["share"].items()}
    assert kinds == {
        "float": ["ndarray", "float64", [3, 2]],
        "unicode": ["ndarray", "<U5", [3]],
        "bytes": ["ndarray", "|S2", [2]],
        "int": ["ndarray", "int64", [2]],
        "bool": ["ndarray", "bool", [2]],
        "scalar": ["ndarray", "uint16", []],
        "empty": ["ndarray", "float32", [0, 4]],
        "no rows": ["Tensor", "torch.bfloat16", [0, 2]],
        "time": ["ndarray", "datetime64[D]", [1]],
        "objects": ["ndarray", "object", [3]],
        "bfloat16": ["Tensor", "torch.bfloat16", [3, 2]],
        "grad": ["Tensor", "torch.float32", [2]],
        "zero-dim": ["Tensor", "torch.int64", []],
        "flags": ["Tensor", "torch.bool", [2]],
    }
    assert all(got[3] for got in other["share"].values())


def test_an_error_of_one_rank_is_raised_on_all(ranks: list[Any]) -> None:
    (chief, _), (other, _) = ranks[:2]
    assert chief["stopped"] == ["RankError", "rank 1 failed (ValueError: no data)"]
    assert other["stopped"] == ["ValueError", "no data"]
    assert chief["unwritable"][0] == "OSError"
    assert other["unwritable"][0] == "RankError"
    assert other["unwritable"][1].startswith("rank 0 failed (OSError: `rundir` must be a folder")


def test_ranks_trigger_at_the_chiefs_moments_and_the_chief_logs(ranks: list[Any]) -> None:
    for saw, _ in ranks[:2]:
        assert saw["loop"] == {"steps": [3, 6], "history": [[3, 3.0], [6, 6.0]], "b": 6.0}
    assert ranks[2] == [3.0, 6.0]


def test_a_closed_world_leaves_no_group(ranks: list[Any]) -> None:
    assert [groups for _, groups in ranks[:2]] == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 2])
def test_a_dead_rank_is_named_by_all_others_at_once(victim: int, tmp_path: Path) -> None:
    assert run_ranks(3, SCRIPT, "outlive", str(victim), tmp_path) == [0] * 3
    seen = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert len(seen) == 2
    for rank in seen:
        assert rank["errors"] == [
            f"rank {victim} is dead, or did not answer within 1800 s",
            "the ranks are no longer together: this world is closed",
        ]
