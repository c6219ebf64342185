"""Draws the curves of a run: `python docs/plot_curves.py runs/digits docs/images/digits.png`."""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

PANELS = {
    "retrieval": ("hit_rate@1", "precision@10", "r_precision", "map@r"),
    "match rates": ("auc", "eer", "tar@far=0.01"),
}


def draw(rundir: Path, runner: str = "validation") -> Figure:
    """Return a figure of a runner's metrics over the epochs."""
    lines = (rundir / "metrics.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["runner"] == runner]
    epochs = [record["epoch"] for record in records]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (title, metrics) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for metric in metrics:
            values = [record[f"{runner}/{metric}"] for record in records]
            axes.plot(epochs, values, marker="o", markersize=3, label=metric)
        axes.set(title=f"{rundir.name}: {title}", xlabel="epoch", ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


if __name__ == "__main__":
    draw(Path(sys.argv[1])).savefig(sys.argv[2], dpi=110)
