"""The ranks of a real `torch.distributed` world give what one process gives."""

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch  # noqa: F401 - left out where it is not installed

from tests.ranks import run_ranks

SCRIPT = Path(__file__).with_name("ranks_script.py")


@cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ranks_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ranks_script"] = module
    spec.loader.exec_module(module)
    return module


@cache
def expected() -> dict[str, Any]:
    """What one process gives."""
    results: dict[str, Any] = script().results()
    return results


pytestmark = pytest.mark.xdist_group("ranks")  # whose ranks run once


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def reports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each rank of a world of 2, and of 3, reports."""
    out = tmp_path_factory.mktemp("ranks")
    assert run_ranks(request.param, SCRIPT, out) == [0] * request.param
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(request.param)]


def test_counts_are_those_of_one_process_to_the_bit(reports: Any) -> None:
    for report in reports:
        assert set(report["results"]) == set(expected())
        for case, metrics in expected().items():
            assert list(report["results"][case]) == list(metrics), case
            assert report["results"][case] == pytest.approx(metrics, abs=1e-12, nan_ok=True), case


def test_batches_of_4_4_2_with_0_0_2_wrong_give_a_fifth_on_every_rank(reports: Any) -> None:
    for report in reports:
        cases = {name: x for name, x in report["results"].items() if name.startswith("wrong")}
        assert len(cases) == 6
        assert all(metrics == {"validation/error": 0.2} for metrics in cases.values())


def test_every_rank_gets_the_same_numbers(reports: Any) -> None:
    first, *others = [json.dumps(report["results"]) for report in reports]
    assert all(other == first for other in others)


def test_a_failure_on_one_rank_ends_the_run_on_all_and_names_it(reports: Any) -> None:
    for rank, report in enumerate(reports):
        failures = report["failures"]
        assert len(failures) == 10
        own = rank == 1
        broken = "broken here"
        assert failures["forward"] == (
            f"OSError: {broken}" if own else f"RankError: rank 1 failed (OSError: {broken})"
        )
        assert failures["scan"] == (
            "OSError: no scan" if own else "RankError: rank 1 failed (OSError: no scan)"
        )
        for name, text in (
            ("merge", "no merge"),
            ("evidence", "no evidence"),
            ("sharded", "no update"),
        ):
            assert failures[name] == (
                f"OSError: {text}" if own else f"RankError: rank 1 failed (OSError: {text})"
            )
        assert ("RankError: rank 1 failed" in failures["rows"]) != own
        chief = rank == 0
        assert failures["buffers"].startswith(
            "RankError: rank 1" if chief else "ValueError: the model"
        )
        assert "the ranks did not read the same" in failures["stream"]
        assert "row 9 is damaged" in failures["source"]
        assert "declares 12 samples, but 10 were seen" in failures["size"]


def test_the_chief_gets_the_evidence_of_all_ranks_as_of_one_process(reports: Any) -> None:
    alone = json.loads(json.dumps(script().evidence()))
    names = ["retrieval/queries", "by_class/queries", "match_rate/roc", "items/items"]
    assert set(alone["tables"]) >= {*names, "embedding_map/map", "uneven/twice", "uneven/whole"}
    assert alone["tables"]["uneven/twice"]["order"] == [0, 1] * 23
    chief, *others = [report["evidence"] for report in reports]
    assert chief["tables"].keys() == alone["tables"].keys()
    for name, table in alone["tables"].items():
        assert chief["tables"][name].keys() == table.keys()
        for key, column in table.items():
            if "id" in table and key in ("id", "order", "label", "picture"):
                assert chief["tables"][name][key] == column
            ranks, one = numbers(chief["tables"][name][key]), numbers(column)
            np.testing.assert_allclose(ranks, one, rtol=1e-12)
    assert all(other["tables"] == {} for other in others)
    assert [other["high"] for other in others] == [chief["high"]] * len(others)
    assert chief["high"] == pytest.approx(alone["high"], abs=1e-12)


def numbers(column: Any) -> Any:
    """A column of numbers as it is; of texts nothing is left to compare."""
    return np.array([x for x in column if not isinstance(x, str)], float)


def test_one_rank_can_evaluate_a_wrapped_model_alone(reports: Any) -> None:
    assert [report["alone"] for report in reports[:2]] == [{"validation/error": 0.2}, None]


def test_the_chief_decides_when_a_function_says_when(reports: Any) -> None:
    assert all(report["by_time"] == [2] for report in reports)


def test_every_rank_examines_the_chiefs_buffers_and_keeps_its_own(reports: Any) -> None:
    for rank, report in enumerate(reports):
        together, alone, own = report["own_buffers"]
        assert together == [pytest.approx(0.2, abs=1e-5)] * 4
        assert alone == pytest.approx(0.2 - rank, abs=1e-4)
        assert own == rank


def test_a_sharded_model_is_examined_and_kept_whole(reports: Any) -> None:
    for report in reports:
        given = report["sharded"]
        assert given["metrics"] == pytest.approx(given["expected"], abs=1e-6, nan_ok=True)
        assert given["kept"]


def test_ranks_share_a_cache(reports: Any) -> None:
    for rank, report in enumerate(reports):
        (first, missed), (second, found), plain = report["cached"]
        assert first == second == plain
        names = ("validation/cache/hits", "validation/cache/misses")
        assert missed == ([] if rank else [dict(zip(names, (0, 32), strict=True))])
        assert found == ([] if rank else [dict(zip(names, (32, 0), strict=True))])


def test_a_rank_that_dies_ends_the_job_with_an_error_that_names_it(tmp_path: Path) -> None:
    assert run_ranks(3, SCRIPT, tmp_path, "lose") == [0, 7, 0]
    for rank in (0, 2):
        told = json.loads((tmp_path / f"{rank}.json").read_text())["lost"]
        assert told.startswith("rank 1 is dead, or did not answer within")
