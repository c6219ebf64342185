"""One run of a pair inferencer over rows that are there already, as a runner drives it."""

from typing import Any

import numpy as np

from milepost.inferencers import PairInferencer


def whole_run(inferencer: PairInferencer, rows: Any, labels: Any) -> Any:
    ids = np.arange(len(rows))
    role = np.full(len(rows), "query")
    inferencer.update({"id": ids, "role": role, "output": rows, "label": labels})
    done = 0
    while done < inferencer.rounds:  # it may grow
        inferencer.start_round(done)
        inferencer.scan(inferencer.rows(), done)
        inferencer.end_round(done)
        done += 1
    return inferencer.compute()
