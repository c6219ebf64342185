"""Exact k-NN of unit rows among themselves, by cosine."""

from benchmarks.cases.case import Case, Run
from benchmarks.data import Array


def milepost(rows: Array, labels: Array, *, k: int) -> Run:
    from milepost.neighbors import search

    return lambda: search(rows, rows, k)


def milepost_beside_torch(rows: Array, labels: Array, *, k: int) -> Run:
    import torch  # noqa: F401, as a program that embeds with it has done

    return milepost(rows, labels, k=k)


def faiss(rows: Array, labels: Array, *, k: int) -> Run:
    import faiss

    return lambda: faiss.knn(rows, rows, k, metric=faiss.METRIC_INNER_PRODUCT)


CASE = Case({"milepost": milepost, "milepost beside torch": milepost_beside_torch, "faiss": faiss})
