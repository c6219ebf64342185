"""Two ranks in a loop of Accelerate and in an engine of Ignite."""

import json
from pathlib import Path

import accelerate  # noqa: F401 - left out where it is not installed
import ignite  # noqa: F401
import pytest

from tests.ranks import run_ranks

SCRIPT = Path(__file__).with_name("engines_ranks_script.py")


@pytest.mark.slow
def test_ranks_measure_what_one_process_does_and_log_it_once(tmp_path: Path) -> None:
    assert run_ranks(2, SCRIPT, tmp_path) == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    for kind in ("loop", "engine"):
        assert first[kind]["mean"] != second[kind]["mean"]
        assert first[kind]["history"] == second[kind]["history"]
        lines = (tmp_path / kind / "metrics.jsonl").read_text().splitlines()
        logged = [(x["step"], x["validation/hit_rate@1"]) for x in map(json.loads, lines)]
        assert [step for step, _ in logged] == [3, 6]
        assert first[kind]["history"] == [list(each) for each in logged]
        assert first[kind]["step"] == second[kind]["step"] == 6
        assert logged[-1][1] == pytest.approx(first[kind]["alone"], abs=1e-6)  # the chief's
    assert len(list((tmp_path / "best").iterdir())) == 1
    assert (tmp_path / "state" / "custom_checkpoint_0.pkl").exists()
