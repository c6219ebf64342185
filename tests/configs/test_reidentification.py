"""The re-identification recipe: cameras, and what a query may not find."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from milepost._cli import main
from milepost.configs.digits import ConvNet
from milepost.configs.reidentification import Sightings, TrainSightings

RECIPE = str(Path(__file__).parents[2] / "configs" / "reidentification.yaml")


def test_each_camera_sees_each_specimen_once_as_a_query_and_once_in_the_gallery() -> None:
    sightings = Sightings([5, 6], specimens=3)
    rows = [sightings[at] for at in range(len(sightings))]
    seen = [(row["label"], row["camera"], row["role"]) for row in rows]
    assert len(seen) == len(set(seen)) == 3 * 4 * 2
    images, labels = TrainSightings([5, 6], specimens=3).tensors
    assert images.shape == (24, 1, 16, 16)
    assert labels.tolist() == [label for label, _, _ in seen]


def test_a_query_does_not_find_its_specimen_through_its_own_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    arguments = ["--epochs=1", "--train.specimens=20", f"--rundir={tmp_path / 'run'}"]
    assert main(["run", RECIPE, *arguments]) == 0
    torch.set_num_threads(threads)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    record = next(record for record in map(json.loads, lines) if record["runner"])
    torch.manual_seed(0)
    assert record["validation/hit_rate@1"] == pytest.approx(expected_hit_rate(ConvNet(64)))


def expected_hit_rate(model: ConvNet) -> float:
    """The share of queries whose nearest row, their own camera's of them left out, is theirs."""
    sightings = Sightings([5, 6, 7, 8, 9], specimens=100, seed=1)
    rows = [sightings[at] for at in range(len(sightings))]
    with torch.no_grad():
        embeddings = model.eval()(torch.stack([row["image"] for row in rows])).double().numpy()
    labels, cameras = (np.array([row[name] for row in rows]) for name in ("label", "camera"))
    queries = np.flatnonzero([row["role"] == "query" for row in rows])
    gallery = np.flatnonzero([row["role"] == "gallery" for row in rows])
    scores = embeddings[queries] @ embeddings[gallery].T
    same = labels[queries][:, None] == labels[gallery]
    scores[same & (cameras[queries][:, None] == cameras[gallery])] = -np.inf
    return float(np.mean(labels[gallery][scores.argmax(axis=1)] == labels[queries]))
