"""A trained embedding model in use: matches, nearest neighbours, labels."""

import functools
import os
from collections.abc import Sequence
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

from milepost._embedded import Column, Embedded
from milepost._fingerprint import fingerprint
from milepost.neighbors import (
    CosineSimilarity,
    DiskIndexer,
    FaissIndexer,
    IndexDetails,
    Indexer,
    MatchFinder,
    NearestNeighbors,
    backend_of,
    majority,
    search,
)
from milepost.predictors import compose, get_predictor
from milepost.runners import collect


@final
class InferenceModel:
    """Finds matches and nearest neighbours with a trained embedding model.

    Data are what an `InferenceRunner` takes: a torch `Dataset`, `IterableDataset` or `DataLoader`,
    a mapping of arrays, an iterable of batches. They may also be samples in memory: an array or
    tensor whose first axis is the samples, or a list of arrays, tensors or texts, one a sample.
    Every sample is embedded exactly once, with the weights of the moment and without a trace in
    the model; embeddings do not depend on prefetch or workers.

    Positions in the gallery are those of the data (a shuffled loader is read in the order of its
    dataset), one addition after the other. Memory: the embeddings, and what the index takes; with
    a `DiskIndexer` the embeddings of a batch.

    Args:
        trunk: a model of PyTorch, Keras or TensorFlow, or a predictor that `get_predictor` gave.
        embedder: a model of the same framework that makes embeddings of what the trunk gives; None:
            the trunk does.
        match_finder: None: `MatchFinder(CosineSimilarity(), threshold=0.9)`.
        indexer: None: `FaissIndexer()`.
        normalize_embeddings: whether to scale embeddings to length 1; one of zeros stays.
        embeddings: which output of the model is the embedding.
        fields: names for the elements of tuple batches; by default `("input", "label")`. Samples in
            memory that have no name are the first.
        inputs: the fields that go to the model; by default the first of a tuple, and what the
            model's signature takes of a mapping.
        device: where the model runs; None: where it is. Elsewhere a copy takes the weights at
            each call: where they do not change, move the model.
        autocast: floating dtype, or its name, to compute in; None: the model's own.
        batch_size: rows a batch; None: the loader's own, else 64.
        num_workers: worker processes of a torch loader.
        prefetch: batches that are loaded ahead of the model.
        timeout_s: how long to wait for a batch; None waits for ever.

    Attributes:
        match_finder: decides which pairs match.
        indexer: holds the gallery.
        labels: shape (N,), the labels of the gallery; None if it has none.
        ids: shape (N,), the ids of the gallery; None: they are positions.

    Raises:
        TypeError: the model is of no framework that is supported.

    Example:
        >>> import torch
        >>> model = InferenceModel(torch.nn.Identity())
        >>> model.train_indexer(torch.eye(3), labels=["a", "b", "c"])
        >>> indices, distances = model.get_nearest_neighbors(torch.tensor([[0.1, 0.9, 0.0]]), k=2)
        >>> indices
        tensor([[1, 0]])
        >>> model.predict_label([torch.tensor([0.1, 0.9, 0.0])])
        array(['b'], dtype='<U1')
    """

    def __init__(
        self,
        trunk: Any,
        embedder: Any = None,
        match_finder: MatchFinder | None = None,
        indexer: Indexer | None = None,
        normalize_embeddings: bool = True,
        *,
        embeddings: str = "output",
        fields: Sequence[str] | None = None,
        inputs: Sequence[str] | None = None,
        device: Any = None,
        autocast: Any = None,
        batch_size: int | None = None,
        num_workers: int = 0,
        prefetch: int = 2,
        timeout_s: float | None = None,
    ) -> None:
        model = trunk if embedder is None else compose(trunk, embedder)
        self._predictor = get_predictor(model, inputs, device=device, autocast=autocast)
        self.match_finder = match_finder or MatchFinder(CosineSimilarity(), threshold=0.9)
        self.indexer = FaissIndexer() if indexer is None else indexer
        self.labels: npt.NDArray[Any] | None = None
        self.ids: npt.NDArray[Any] | None = None
        self._label_sums: dict[Any, npt.NDArray[np.float64]] = {}
        self._made_by: str | None = None  # the weights that embedded the gallery
        self._normalize = normalize_embeddings
        self._embedded = functools.partial(Embedded, embeddings, normalize=normalize_embeddings)
        self._collect = functools.partial(
            collect,
            self._predictor,
            fields=fields,
            batch_size=batch_size,
            num_workers=num_workers,
            prefetch=prefetch,
            timeout_s=timeout_s,
        )

    def get_embeddings(self, data: Any) -> Any:
        """Return the embeddings of data, float32 (N, d), as torch tensors or NumPy arrays.

        Raises:
            CoverageError: not every declared sample was seen exactly once.
            NonFiniteError: an embedding is NaN or infinite.
            ValueError: there are no samples, or the output is no matrix.
        """
        embedded = self._embedded()
        self._run(data, embedded)
        return embedded.embeddings

    def train_indexer(self, data: Any, labels: Column = None, *, ids: Column = None) -> None:
        """Make data the gallery: forget the one before, train the index, add them.

        Args:
            data: the gallery.
            labels: the samples' labels, numbers or strings, (N,); or the name of the field that
                holds them.
            ids: their ids, or the name of the field; None: they are positions.

        Raises:
            EvaluationError: as for `get_embeddings`.
            ValueError: there is not one label or id for each sample, or the samples do not suffice
                to train the index. The gallery before is kept, but by a `DiskIndexer`.
        """
        self._put(data, labels, ids, anew=True)

    def add_to_indexer(self, data: Any, labels: Column = None, *, ids: Column = None) -> None:
        """Add data to the gallery; after an error it is what it was.

        The first addition trains the index where nothing did.

        Args:
            data: what is added.
            labels: as for `train_indexer`; given if, and only if, the gallery has labels.
            ids: as for `train_indexer`; given if, and only if, the gallery has ids.

        Raises:
            EvaluationError: as for `get_embeddings`.
            ValueError: labels or ids do not fit the gallery's, or it was embedded with other
                weights.
        """
        if len(self.indexer):
            _check_alike("labels", labels, self.labels)
            _check_alike("ids", ids, self.ids)
            if self._made_by != self._fingerprint():
                msg = (
                    "the gallery was embedded with other weights, whose embeddings do not compare "
                    "with those of now; embed all of it again by `train_indexer`"
                )
                raise ValueError(msg)
        self._put(data, labels, ids, anew=self.indexer.dimension is None)

    def get_nearest_neighbors(self, query: Any, k: int) -> NearestNeighbors:
        """Return the k nearest of the gallery for each query; all there are where k is larger.

        Args:
            query: data.
            k: neighbours a query, at least 1.

        Returns:
            Positions in the gallery and distances, each (Q, k), as the indexer gives them.

        Raises:
            ValueError: the gallery is empty, or k is out of range.
        """
        return self.indexer.search(self.get_embeddings(query), k)

    def predict_label(
        self, query: Any, k: int = 1, *, method: Literal["vote", "centroid"] = "vote"
    ) -> npt.NDArray[Any]:
        """Return a label for each query, (Q,), by the labels of the gallery.

        Args:
            query: data.
            k: nearest neighbours that vote. Of labels with equally many votes, it is the one whose
                nearest member is nearer.
            method: `"centroid"`: the label whose mean embedding is nearest, by the indexer's
                metric; k is not used.

        Raises:
            ValueError: the gallery is empty or has no labels, or an argument is wrong.
        """
        if method not in ("vote", "centroid"):
            msg = f"`method` must be 'vote' or 'centroid', got {method!r}"
            raise ValueError(msg)
        if self.labels is None or len(self.labels) != len(self.indexer):
            msg = "`predict_label` needs a gallery with labels; pass them to `train_indexer`"
            raise ValueError(msg)
        distinct, codes, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        if method == "vote":
            found = self.get_nearest_neighbors(query, k).indices
            chosen = majority(codes[backend_of(found).numpy(found)], found.shape[1])
        else:
            if not self._label_sums:
                msg = "`method` 'centroid' needs a gallery that `save_index` saved, or a new one"
                raise ValueError(msg)
            sums = np.stack([self._label_sums[label] for label in distinct.tolist()])
            embeddings = self.get_embeddings(query)
            queries = backend_of(embeddings).numpy(embeddings)
            means = sums / counts[:, None]
            chosen = search(queries, means, 1, distance=self.indexer.metric).indices[:, 0]
        predicted: npt.NDArray[Any] = distinct[chosen]
        return predicted

    def is_match(self, x: Any, y: Any, threshold: float | None = None) -> Any:
        """Return whether each sample of `x` matches the same sample of `y`.

        Args:
            x: data.
            y: data, as many samples.
            threshold: None: the match finder's.

        Returns:
            bool (N,), or one bool for a single pair.
        """
        return self.match_finder.is_match(self.get_embeddings(x), self.get_embeddings(y), threshold)

    def get_matches(
        self,
        x: Any,
        ref: Any = None,
        threshold: float | None = None,
        return_tuples: bool = False,
        return_scores: bool = False,
    ) -> Any:
        """Return which samples of `x` match which of `ref`: as `is_match` decides each pair.

        Args:
            x: data.
            ref: data; None: those of `x`.
            threshold: None: the match finder's.
            return_tuples: whether to give a list of pairs of positions, in place of a matrix.
            return_scores: whether to give the values of the distance too.

        Returns:
            What `MatchFinder.get_matching_pairs` returns.
        """
        return self.match_finder.get_matching_pairs(
            self.get_embeddings(x),
            None if ref is None else self.get_embeddings(ref),
            threshold,
            return_tuples,
            return_scores,
        )

    def save_index(self, path: str | os.PathLike[str]) -> None:
        """Save the gallery: index, labels, ids, and what identifies the weights that made it.

        Raises:
            ValueError: the gallery is empty.
        """
        distinct = [] if self.labels is None else np.unique(self.labels).tolist()
        sums = [self._label_sums[label] for label in distinct]
        details = IndexDetails(
            ids=self.ids,
            labels=self.labels,
            label_sums=np.stack(sums) if sums else None,
            normalized=self._normalize,
            model=self._made_by,
        )
        self.indexer.save(path, details)

    def load_index(self, path: str | os.PathLike[str], *, any_model: bool = False) -> None:
        """Take a saved gallery in place of the one that is there; after an error nothing changed.

        Args:
            path: what `save_index` wrote.
            any_model: whether to take embeddings that other weights made.

        Raises:
            IndexFileError: the file is damaged or of a future version; or it is of another kind of
                indexer, metric, dimension, normalisation or model.
            OSError: it cannot be read.
        """
        model = self._fingerprint()
        details = self.indexer.load(
            path, model=None if any_model else model, normalized=self._normalize
        )
        self.labels, self.ids, self._made_by = details.labels, details.ids, model
        self._label_sums = {}
        if details.labels is not None and details.label_sums is not None:
            distinct = np.unique(details.labels).tolist()
            self._label_sums = dict(zip(distinct, details.label_sums, strict=True))

    def _run(self, data: Any, embedded: Embedded) -> None:
        embedded.finish(self._collect(data, embedded.fetches, embedded.take))

    def _put(self, data: Any, labels: Column, ids: Column, *, anew: bool) -> None:
        """Add data to the gallery, or make them the gallery."""
        streams = isinstance(self.indexer, DiskIndexer)
        if streams and anew:
            self.indexer.reset()
        before = len(self.indexer)
        embedded = self._embedded(
            labels=labels, ids=ids, sink=self.indexer.add if streams else None
        )
        is_first = anew or not before
        try:
            self._run(data, embedded)
            labels = _joined(None if is_first else self.labels, embedded.column("labels"))
            ids = _joined(None if is_first else self.ids, embedded.column("ids"))
        except BaseException:
            if isinstance(self.indexer, DiskIndexer):
                self.indexer.truncate(before)
            raise
        if not streams:
            if anew:
                self.indexer.train(embedded.embeddings)
            self.indexer.add(embedded.embeddings)
        self.labels, self.ids, self._made_by = labels, ids, self._fingerprint()
        sums = {} if is_first else self._label_sums
        for label, total in embedded.label_sums.items():
            sums[label] = sums.get(label, 0.0) + total
        self._label_sums = sums

    def _fingerprint(self) -> str:
        with self._predictor.scope():  # where a copy runs, it takes the weights of now
            return fingerprint(self._predictor.weights())


def _check_alike(name: str, given: Column, there: npt.NDArray[Any] | None) -> None:
    if (given is None) != (there is None):
        has = "none" if there is None else "some"
        msg = (
            f"`{name}` must be given for all of the gallery or for nothing of it; so far it has "
            f"{has}"
        )
        raise ValueError(msg)


def _joined(
    first: npt.NDArray[Any] | None, second: npt.NDArray[Any] | None
) -> npt.NDArray[Any] | None:
    if first is None or second is None:
        return second
    if (first.dtype.kind in "US") != (second.dtype.kind in "US"):
        msg = f"labels and ids must stay of one kind, got {second.dtype} after {first.dtype}"
        raise ValueError(msg)
    return np.concatenate([first, second])
