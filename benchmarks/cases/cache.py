"""One evaluation of an encoder: run, run and kept, or found in a cache."""

import tempfile
from typing import Any

from benchmarks.cases.case import Case, Run
from benchmarks.data import Array


def uncached(rows: Array, labels: Array, *, width: int, layers: int) -> Run:
    import milepost as mp

    own = encoder(rows.shape[1], width, layers)
    return lambda: mp.evaluate(own, {"x": rows}, [mp.ScalarStats("output")], inputs=("x",))


def cached(rows: Array, labels: Array, *, width: int, layers: int) -> Run:
    import milepost as mp

    own, folder = encoder(rows.shape[1], width, layers), tempfile.TemporaryDirectory()

    def run() -> Any:
        options: dict[str, Any] = {"inputs": ("x",), "cache": folder.name}
        return mp.evaluate(own, {"x": rows}, [mp.ScalarStats("output")], **options)

    run()
    return run


def filling(rows: Array, labels: Array, *, width: int, layers: int) -> Run:
    import milepost as mp

    own = encoder(rows.shape[1], width, layers)

    def run() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            options: dict[str, Any] = {"inputs": ("x",), "cache": folder}
            return mp.evaluate(own, {"x": rows}, [mp.ScalarStats("output")], **options)

    return run


def encoder(inputs: int, width: int, layers: int) -> Any:
    import torch

    hidden = [torch.nn.Linear(width, width) for _ in range(layers)]
    steps = [part for layer in hidden for part in (layer, torch.nn.GELU())]
    head = torch.nn.Sequential(torch.nn.Linear(width, 1), torch.nn.Flatten(0))
    return torch.nn.Sequential(torch.nn.Linear(inputs, width), *steps, head).eval()


CASE = Case({"cached": cached, "uncached": uncached, "filling": filling})
