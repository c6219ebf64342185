"""The libraries live in one process, in whatever order a program imports them."""

import itertools
import subprocess
import sys

import pytest
import tensorflow  # noqa: F401 - left out where either is not installed
import torch  # noqa: F401

LIBRARIES = ("tensorflow", "torch", "faiss", "milepost")
ORDERS = [*itertools.permutations(LIBRARIES), ("pyarrow", *LIBRARIES[::-1])]
QUICK = {ORDERS[-1]}
USE_ALL = """
import keras, numpy as np, tempfile
rows = np.eye(64, dtype=np.float32)
net = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8)])
for model in (torch.nn.Linear(64, 8), net):
    images = {"image": rows, "label": np.arange(64) % 2}
    with tempfile.TemporaryDirectory() as folder:  # which tables are written to, with pyarrow
        metrics = milepost.evaluate(
            model, images, [milepost.Retrieval(k=1)], inputs=("image",), rundir=folder
        )
    assert 0 <= metrics["validation/hit_rate@1"] <= 1
faiss.knn(rows, rows, 1)
assert float(tensorflow.reduce_sum(rows @ rows)) == float(torch.from_numpy(rows @ rows).sum()) == 64
"""


@pytest.mark.parametrize(
    "order",
    [pytest.param(order, marks=[] if order in QUICK else pytest.mark.slow) for order in ORDERS],
    ids="-".join,
)
def test_every_order_of_imports_works(order: tuple[str, ...]) -> None:
    program = "".join(f"import {name}\n" for name in order) + USE_ALL
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
