"""Retrieval by brute force: what the definitions say, query by query."""

from typing import Any

import numpy as np

from tests.inferencers.rounds import Array


def scores_of(query: Array, gallery: Array, distance: str) -> Array:
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if distance == "l2":
        return np.asarray(-((query - gallery) ** 2).sum(axis=1))
    products: Array = gallery @ query
    if distance == "dot":
        return products
    norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    cosines: Array = np.divide(products, norms, out=np.zeros(len(norms)), where=norms > 0)
    return np.round(cosines, 9)


def plain(labels: Array) -> list[Any]:
    return [tuple(label) if isinstance(label, list) else label for label in labels.tolist()]


def oracle(
    queries: Any,
    gallery: Any,
    k: tuple[int, ...],
    distance: str,
    own: bool,
    relevant: Any = None,
    gain: Any = None,
    weight: Any = None,
    group: tuple[str, ...] = (),
) -> dict[str, dict[Any, float]]:
    """Rank by (- score, id) and follow the definitions, query by query.

    `gain` is for a query label and a label, `weight` gives the votes of neighbours by their scores;
    gallery rows that are equal to the query in all fields of `group` are left out.
    """
    relevant = relevant or (lambda query, label: query == label)
    gain = gain or (lambda query, label: float(bool(relevant(query, label))))
    weight = weight or np.ones_like
    values: dict[str, dict[Any, float]] = {}
    kinds = plain(gallery["label"])
    columns = (queries["id"], queries["output"], plain(queries["label"]))
    for at, (own_id, query, label) in enumerate(zip(*columns, strict=True)):
        scores = scores_of(query, gallery["output"], distance)
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], gallery["id"][i]))
        order = [i for i in order if not (own and gallery["id"][i] == own_id)]
        if group:
            order = [i for i in order if any(gallery[x][i] != queries[x][at] for x in group)]
        labels = [kinds[i] for i in order]
        hits = np.array([bool(relevant(label, other)) for other in labels], dtype=float)
        r = int(hits.sum())
        gains = np.array([gain(label, other) for other in labels], dtype=float)
        found = ranks(hits, r, k) if r else {}
        for depth in k if r else ():
            found[f"ndcg@{depth}"] = ndcg(gains, depth)
            best = voted(labels[:depth], weight(scores[order][:depth]))
            found[f"knn_accuracy@{depth}"] = float(bool(relevant(label, best)))
        for name, value in found.items():
            values.setdefault(name, {})[own_id] = value
    return values


def ranks(hits: Array, r: int, k: tuple[int, ...]) -> dict[str, float]:
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    found = {
        "map@r": (hits * precision)[:r].sum() / r,
        "r_precision": hits[:r].sum() / r,
        "mrr": 1 / (1 + np.argmax(hits)),
    }
    for depth in k:
        found |= {
            f"hit_rate@{depth}": float(hits[:depth].any()),
            f"recall@{depth}": hits[:depth].sum() / r,
            f"precision@{depth}": hits[:depth].sum() / depth,
            f"map@{depth}": (hits * precision)[:depth].sum() / r,
            f"map_min@{depth}": (hits * precision)[:depth].sum() / min(depth, r),
        }
    return found


def ndcg(gains: Array, depth: int) -> float:
    discount = 1 / np.log2(np.arange(2, len(gains) + 2))
    best = (np.sort(gains)[::-1] * discount)[:depth].sum()
    return float((gains * discount)[:depth].sum() / best) if best else 0.0


def voted(labels: list[Any], weights: Array) -> Any:
    """Return the label with most votes, of equals (but for rounding) that of the nearest."""
    votes: dict[Any, float] = {}
    for label, weight in zip(labels, weights, strict=True):
        votes[label] = votes.get(label, 0.0) + weight
    return next(label for label, vote in votes.items() if vote > max(votes.values()) * (1 - 1e-8))
