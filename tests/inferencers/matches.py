"""Match rates of a list of pairs, by trying every threshold."""

import math
from typing import Any

import numpy as np

from milepost.neighbors import pair_scores
from tests.inferencers.rounds import Array

FAR = (1e-4, 1e-2, 0.1, 0.5, 1.0)


def pairs_of(queries: Any, gallery: Any, distance: Any, own: bool) -> tuple[Array, Array]:
    """Return the scores of all pairs, and whether they are genuine."""
    scores = pair_scores(queries["output"], gallery["output"], distance=distance)
    same = np.asarray(queries["label"])[:, None] == np.asarray(gallery["label"])[None, :]
    if gallery is queries:
        counted = np.triu(np.ones_like(same), 1)
    else:
        counted = ~((queries["id"][:, None] == gallery["id"][None, :]) & own)
    return scores[counted].astype(np.float64), same[counted]


def oracle(scores: Array, genuine: Array, thresholds: Any, distance: str) -> dict[str, float]:
    """Try every threshold, as the definitions say."""
    place = (lambda s: math.sqrt(-s)) if distance == "l2" else float
    observed = np.unique(scores)[::-1]
    good = np.array([0, *((scores[genuine] >= t).sum() for t in observed)])
    bad = np.array([0, *((scores[~genuine] >= t).sum() for t in observed)])
    tar, far = good / genuine.sum(), bad / (~genuine).sum()
    found: dict[str, float] = {}
    for t in thresholds:
        distances = np.sqrt(-scores) if distance == "l2" else None
        match = scores >= t if distances is None else distances <= t
        found[f"match_rate_genuine@{t:g}"] = match[genuine].mean()
        found[f"match_rate_impostor@{t:g}"] = match[~genuine].mean()
    for rate in FAR:
        last = np.flatnonzero(far <= rate)[-1]
        found[f"tar@far={rate:g}"] = tar[last]
        found[f"threshold@far={rate:g}"] = place(observed[last - 1]) if last else math.nan
    missed = (genuine.sum() - good) / genuine.sum()
    below = int(np.flatnonzero(far >= missed)[0])
    gaps = far[below] - missed[below], missed[below - 1] - far[below - 1]
    found["eer"] = far[below] + gaps[0] / sum(gaps) * (far[below - 1] - far[below])
    found["eer_threshold"] = place(observed[below - 1 - (gaps[1] < gaps[0])])
    combinations = scores[genuine][:, None] - scores[~genuine][None, :]
    found["auc"] = ((combinations > 0) + (combinations == 0) / 2).mean()
    f1 = 2 * good[1:] / (good[1:] + bad[1:] + genuine.sum())
    found["best_f1"] = f1.max()
    found["best_f1_threshold"] = place(observed[f1.argmax()])
    found["far_resolution"] = 1 / (~genuine).sum()
    return {**found, "genuine_pairs": genuine.sum(), "impostor_pairs": (~genuine).sum()}
