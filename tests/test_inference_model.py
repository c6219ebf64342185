"""The embedding model in use, through the front door."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import milepost as mp
from milepost.errors import CoverageError, IndexFileError, NonFiniteError, UnknownNameError
from milepost.neighbors import IndexDetails

INDEXERS: dict[str, Callable[[], mp.Indexer]] = {
    "faiss": mp.FaissIndexer,
    "ivf": lambda: mp.FaissIndexer("IVF4,Flat", parameters="nprobe=4"),
    "exact": mp.ExactIndexer,
    "disk": mp.DiskIndexer,
}
every_indexer = pytest.mark.parametrize("make", INDEXERS.values(), ids=INDEXERS.keys())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(200, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))


def linear(model: nn.Sequential) -> nn.Linear:
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    return layer


def labelled(images: Tensor) -> TensorDataset:
    return TensorDataset(images, torch.arange(len(images)) % 5)


def points(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows)


def as_list(images: Tensor) -> Any:
    return list(images)


def as_dataset(images: Tensor) -> Any:
    return labelled(images)


def as_shuffled_loader(images: Tensor) -> Any:
    return DataLoader(labelled(images), batch_size=32, shuffle=True)


def as_array(images: Tensor) -> Any:
    return images.numpy()


def as_arrays(images: Tensor) -> Any:
    return [image.numpy() for image in images]


def as_columns(images: Tensor) -> Any:
    return {"image": images}


def as_batches(images: Tensor) -> Any:
    return (images[start : start + 30] for start in range(0, len(images), 30))


class Stream(IterableDataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self._images = images

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._images)


DATA = [
    as_list,
    as_dataset,
    as_shuffled_loader,
    as_array,
    as_arrays,
    as_columns,
    as_batches,
    Stream,
]


@pytest.mark.parametrize("kind", [torch.Tensor.contiguous, *DATA])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_every_kind_of_data_gives_the_same_embeddings(
    kind: Any, prefetch: int, images: Tensor, model: nn.Sequential
) -> None:
    model.eval()
    with torch.no_grad():
        expected = nn.functional.normalize(model(images))
    embeddings = mp.InferenceModel(model, prefetch=prefetch).get_embeddings(kind(images))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings, expected)


# I01, I02 of the shared cases


@every_indexer
@pytest.mark.parametrize("kind", [as_list, as_dataset])
def test_an_item_of_the_gallery_is_its_own_nearest(
    kind: Any, make: Callable[[], mp.Indexer], images: Tensor, model: nn.Sequential
) -> None:
    im = mp.InferenceModel(model, indexer=make())
    im.train_indexer(kind(images))
    indices, distances = im.get_nearest_neighbors([images[0]], k=10)
    assert indices[0][0] == 0
    assert len(indices) == len(distances) == 1
    assert len(indices[0]) == 10


@every_indexer
def test_a_saved_index_gives_the_same_in_a_fresh_model(
    make: Callable[[], mp.Indexer], images: Tensor, model: nn.Sequential, tmp_path: Path
) -> None:
    im = mp.InferenceModel(model, indexer=make())
    im.train_indexer(labelled(images), labels="label", ids=[f"no {n}" for n in range(200)])
    im.save_index(tmp_path / "gallery.index")
    fresh = mp.InferenceModel(model, indexer=make())
    fresh.load_index(tmp_path / "gallery.index")
    for x, y in zip(
        im.get_nearest_neighbors(images[:7], 10),
        fresh.get_nearest_neighbors(images[:7], 10),
        strict=True,
    ):
        assert torch.equal(x, y)
    assert fresh.ids is not None
    assert fresh.ids[3] == "no 3"
    assert im.predict_label(images, 3).tolist() == fresh.predict_label(images, 3).tolist()
    centroids = [one.predict_label(images, method="centroid").tolist() for one in (im, fresh)]
    assert centroids[0] == centroids[1]
    fresh.add_to_indexer(images[:1], labels=[9], ids=["one more"])
    assert len(fresh.indexer) == 201


def test_the_defaults_are_those_of_the_seed(model: nn.Sequential) -> None:
    im = mp.InferenceModel(model)
    assert repr(im.match_finder) == "MatchFinder(CosineSimilarity(), threshold=0.9)"
    im.train_indexer(torch.ones(1, 3, 4, 4))
    assert isinstance(im.indexer, mp.FaissIndexer)
    assert type(im.indexer.index).__name__ == "IndexFlatL2"


def test_searching_before_any_gallery_is_an_error(images: Tensor, model: nn.Sequential) -> None:
    im = mp.InferenceModel(model)
    with pytest.raises(ValueError, match=r"^`search` needs an index that holds embeddings; train"):
        im.get_nearest_neighbors(images, 3)
    with pytest.raises(ValueError, match="`save` needs an index that holds embeddings"):
        im.save_index("nowhere")


@every_indexer
def test_the_gallery_grows_and_is_replaced(
    make: Callable[[], mp.Indexer], images: Tensor, model: nn.Sequential
) -> None:
    im = mp.InferenceModel(model, indexer=make())
    im.add_to_indexer(images[:50])  # the first addition trains
    im.add_to_indexer(images[50:])
    assert im.get_nearest_neighbors(images, 1).indices[:, 0].tolist() == list(range(200))
    im.train_indexer(images[100:])
    assert im.get_nearest_neighbors(images[100:], 1).indices[:, 0].tolist() == list(range(100))


@every_indexer
def test_k_beyond_the_gallery_gives_what_there_is(
    make: Callable[[], mp.Indexer], images: Tensor, model: nn.Sequential
) -> None:
    im = mp.InferenceModel(model, indexer=make())
    im.train_indexer(images[:8])
    found = im.get_nearest_neighbors(images[:2], 1000)
    assert found.indices.sort(dim=1).values.tolist() == [list(range(8))] * 2


def test_the_model_is_left_as_it_was(images: Tensor, model: nn.Sequential) -> None:
    threads = threading.active_count()
    model.train()
    model[2].eval()
    modes = [part.training for part in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    im = mp.InferenceModel(model, nn.Linear(8, 4))
    im.train_indexer(labelled(images))
    im.get_nearest_neighbors(images, 2)
    im.get_matches(images)
    with pytest.raises(RuntimeError):
        im.get_embeddings(images[:, :1])
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    torch.manual_seed(3)
    im.get_embeddings(images)
    assert torch.equal(torch.rand(4), expected)
    assert torch.is_grad_enabled()
    assert threading.active_count() == threads


def test_embeddings_follow_the_weights(images: Tensor, model: nn.Sequential) -> None:
    im = mp.InferenceModel(model)
    before = im.get_embeddings(images)
    with torch.no_grad():
        linear(model).weight.mul_(-1.5)
    assert not torch.equal(im.get_embeddings(images), before)


# Rows


class Broken(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def dropping(samples: list[Tensor]) -> Tensor:
    return torch.stack(samples[1:])


@every_indexer
def test_a_collate_function_that_drops_rows_leaves_no_phantoms(
    make: Callable[[], mp.Indexer], images: Tensor, model: nn.Sequential
) -> None:
    im = mp.InferenceModel(model, indexer=make())
    im.train_indexer(images)
    faulty = DataLoader(Broken(images), batch_size=16, collate_fn=dropping)
    with pytest.raises(CoverageError, match="a batch of 16 samples came back with 15 rows"):
        im.add_to_indexer(faulty)
    assert len(im.indexer) == 200
    assert im.get_nearest_neighbors(images, 1).indices[:, 0].tolist() == list(range(200))


@every_indexer
def test_an_addition_that_fails_midway_leaves_the_gallery(
    make: Callable[[], mp.Indexer], images: Tensor, model: nn.Sequential
) -> None:
    im = mp.InferenceModel(model, indexer=make(), batch_size=16)
    im.train_indexer(images, labels=np.arange(200))
    spoilt = images.clone()
    spoilt[40] = torch.nan
    with pytest.raises(NonFiniteError, match="NaN or infinite, 1 in a batch; the first ids: 40"):
        im.add_to_indexer(spoilt, labels=np.arange(200))
    with pytest.raises(ValueError, match="`labels` must have one for each of the 32 or more"):
        im.add_to_indexer(images, labels=np.arange(20))
    with pytest.raises(ValueError, match="`labels` must have one for each of the 200 samples"):
        im.add_to_indexer(images, labels=np.arange(201))
    with pytest.raises(ValueError, match="must stay of one kind, got <U1 after int64"):
        im.add_to_indexer(images, labels=["a"] * 200)
    assert len(im.indexer) == 200
    assert im.predict_label(images).tolist() == list(range(200))


def test_data_without_samples_is_an_error(model: nn.Sequential) -> None:
    empty: list[Any] = [[], torch.ones(0, 3, 4, 4), TensorDataset(torch.ones(0, 3))]
    for nothing in empty:
        with pytest.raises(ValueError, match=r"^`data` holds no samples$"):
            mp.InferenceModel(model).get_embeddings(nothing)


def test_what_is_no_list_of_samples_says_how_to_pass_it(
    images: Tensor, model: nn.Sequential
) -> None:
    im = mp.InferenceModel(model)
    with pytest.raises(TypeError, match="got tuple; pass other samples as a torch Dataset or"):
        im.get_embeddings([(images[0], 1)])
    with pytest.raises(TypeError, match="got one text; pass a list of texts"):
        im.get_embeddings("a text")
    with pytest.raises(ValueError, match=r"must have one shape, got \[\(2,\), \(3,\)\]"):
        im.get_embeddings([torch.ones(3), torch.ones(2)])
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module"):
        mp.InferenceModel(lambda x: x)


# Models


class Tokenizing(nn.Module):
    """Counts letters, as a stand-in for a tokenizer and its model."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(26))

    def forward(self, texts: list[str]) -> Tensor:
        assert all(type(text) is str for text in texts)
        assert isinstance(texts, list)
        letters = [[float(text.count(chr(97 + n))) for n in range(26)] for text in texts]
        return torch.tensor(letters) * self.scale


@pytest.mark.parametrize(
    "kind",
    [list, tuple, np.array, lambda texts: {"text": texts}],
    ids=["list", "tuple", "array", "column"],
)
def test_texts_reach_a_tokenizing_trunk_as_lists(kind: Any) -> None:
    texts = ["a cat", "two dogs", "three cats", "a dog"]
    im = mp.InferenceModel(Tokenizing(), batch_size=3)
    im.train_indexer(kind(texts), labels=["cat", "dog", "cat", "dog"])
    assert im.predict_label(["cat cat", "dogdog"]).tolist() == ["cat", "dog"]


class TwoInputs(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"pooled": input_ids * attention_mask, "other": input_ids}


@pytest.mark.parametrize("embedder", [None, nn.Identity()])
def test_a_mapping_goes_to_the_model_by_its_signature(embedder: Any) -> None:
    rows, mask = points((3, 4), (1, 0)), points((1, 0), (1, 1))
    im = mp.InferenceModel(TwoInputs(), embedder, embeddings="pooled", normalize_embeddings=False)
    batch = {"attention_mask": mask, "label": torch.arange(2), "input_ids": rows}
    assert im.get_embeddings(batch).tolist() == [[3, 0], [1, 0]]


def test_trunk_and_embedder_compose(images: Tensor, model: nn.Sequential) -> None:
    embedder = nn.Linear(8, 4)
    whole = mp.InferenceModel(nn.Sequential(model, embedder))
    im = mp.InferenceModel(model, embedder)
    assert torch.equal(im.get_embeddings(images), whole.get_embeddings(images))
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module"):
        mp.InferenceModel(model, lambda x: x)


def test_an_inner_layer_may_be_the_embedding(images: Tensor, model: nn.Sequential) -> None:
    im = mp.InferenceModel(model, embeddings="1", normalize_embeddings=False)
    expected = linear(model)(images.flatten(1)).detach()
    torch.testing.assert_close(im.get_embeddings(images), expected)
    with pytest.raises(UnknownNameError, match="unknown output 'outptu'; did you mean 'output'"):
        mp.InferenceModel(model, embeddings="outptu").get_embeddings(images)
    with pytest.raises(ValueError, match=r"must have shape \(samples, dimension\), got \(2, 3, 4"):
        mp.InferenceModel(nn.Identity()).get_embeddings(images[:2])


def test_embeddings_are_scaled_unless_asked_otherwise() -> None:
    rows = points((3, 4), (0, 0))
    assert mp.InferenceModel(nn.Identity()).get_embeddings(rows).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
    ]
    im = mp.InferenceModel(nn.Identity(), normalize_embeddings=False)
    assert im.get_embeddings(rows).tolist() == [[3, 4], [0, 0]]


def test_lower_precision_is_an_option(images: Tensor, model: nn.Sequential) -> None:
    im = mp.InferenceModel(model, device="cpu", autocast="bfloat16")
    embeddings = im.get_embeddings(images)
    assert embeddings.dtype == torch.float32
    exact = mp.InferenceModel(model).get_embeddings(images)
    assert not torch.equal(embeddings, exact)
    torch.testing.assert_close(embeddings, exact, atol=0.05, rtol=0.05)


def test_a_predictor_may_stand_for_the_model(images: Tensor, model: nn.Sequential) -> None:
    frozen = mp.get_predictor(model, weights="snapshot")
    im = mp.InferenceModel(frozen)
    before = im.get_embeddings(images)
    with torch.no_grad():
        linear(model).weight.zero_()
    assert torch.equal(im.get_embeddings(images), before)


# Matches


def test_is_match_and_get_matches_agree(images: Tensor, model: nn.Sequential) -> None:
    for distance in (mp.CosineSimilarity(), mp.LpDistance(p=1, power=2), mp.SNRDistance()):
        im = mp.InferenceModel(model, match_finder=mp.MatchFinder(distance, threshold=0.5))
        im.train_indexer(images)  # a distance of one's own does not meddle with the search
        matrix = im.get_matches(images[:20], images[20:40])
        assert np.array_equal(im.is_match(images[:20], images[20:40]), np.diagonal(matrix))
        pairs = im.get_matches(images[:20], images[20:40], return_tuples=True)
        assert pairs == list(zip(*np.nonzero(matrix), strict=True))


def test_matches_of_known_points() -> None:
    im = mp.InferenceModel(nn.Identity())
    rows = points((1, 0), (5, 1), (0, 2))
    assert im.get_matches(rows).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]
    assert im.is_match(rows[:1], rows[1:2]) is True
    assert im.is_match(rows[:1], rows[1:2], threshold=0.99) is False
    assert im.get_matches(rows, rows[:1], return_tuples=True) == [(0, 0), (1, 0)]


# Labels


def test_labels_are_voted_for_and_centroids_are_means() -> None:
    gallery = points((0, 0), (0, 2), (3, 1), (9, 1))
    im = mp.InferenceModel(nn.Identity(), normalize_embeddings=False, batch_size=1)
    im.train_indexer(gallery[:3], labels=torch.tensor([[7], [7], [2**40 + 1]]))
    im.add_to_indexer(gallery[3:], labels=[2**40 + 1])
    query = points(
        (2.5, 1),
    )  # centroids (0, 1) and (6, 1)
    assert im.predict_label(query).tolist() == [2**40 + 1]
    assert im.predict_label(query, k=3).tolist() == [7]
    assert im.predict_label(query, k=99).tolist() == [2**40 + 1]
    assert im.predict_label(query, method="centroid").tolist() == [7]
    with pytest.raises(ValueError, match="`method` must be 'vote' or 'centroid', got 'mean'"):
        im.predict_label(query, method="mean")  # type: ignore[arg-type]


def test_labels_and_ids_come_from_fields(images: Tensor, model: nn.Sequential) -> None:
    data: dict[str, Any] = {
        "image": images,
        "kind": np.arange(200) % 3,
        "id": np.arange(1000, 1200),
    }
    im = mp.InferenceModel(model, inputs=["image"])
    im.train_indexer(data, labels="kind", ids="id")
    assert im.ids is not None
    assert im.ids[im.get_nearest_neighbors(data, 1).indices[:, 0]].tolist() == data["id"].tolist()
    assert im.predict_label(data).tolist() == data["kind"].tolist()
    with pytest.raises(
        UnknownNameError, match="unknown field or output 'knd'; did you mean 'kind'"
    ):
        im.train_indexer(data, labels="knd")


def test_labels_are_for_all_or_none(images: Tensor, model: nn.Sequential) -> None:
    im = mp.InferenceModel(model)
    im.train_indexer(images)
    with pytest.raises(ValueError, match="`predict_label` needs a gallery with labels; pass them"):
        im.predict_label(images)
    with pytest.raises(ValueError, match="`labels` must be given for all of the gallery or for"):
        im.add_to_indexer(images, labels=np.arange(200))
    with pytest.raises(ValueError, match=r"`labels` must be numbers or strings of shape \(samples"):
        im.train_indexer(images, labels=np.ones((200, 2)))


# Whose embeddings


def test_weights_that_changed_do_not_add_to_the_gallery(
    images: Tensor, model: nn.Sequential
) -> None:
    im = mp.InferenceModel(model)
    im.train_indexer(images)
    with torch.no_grad():
        linear(model).bias.add_(1)
    with pytest.raises(ValueError, match="the gallery was embedded with other weights"):
        im.add_to_indexer(images)
    im.train_indexer(images)
    im.add_to_indexer(images)
    assert len(im.indexer) == 400


def test_an_index_of_other_weights_is_loaded_only_when_asked(
    images: Tensor, model: nn.Sequential, tmp_path: Path
) -> None:
    path = tmp_path / "gallery.index"
    im = mp.InferenceModel(model)
    im.train_indexer(images)
    with torch.no_grad():
        linear(model).bias.add_(1)
    im.save_index(path)  # it says what embedded the gallery, not what is there now
    with pytest.raises(IndexFileError, match="the file's embeddings were made by other weights"):
        im.load_index(path)
    fresh = mp.InferenceModel(model)
    fresh.load_index(path, any_model=True)
    assert len(fresh.indexer) == 200
    with pytest.raises(IndexFileError, match="`normalize_embeddings` was True for the embeddings"):
        mp.InferenceModel(model, normalize_embeddings=False).load_index(path, any_model=True)


def test_a_damaged_index_leaves_the_gallery(
    images: Tensor, model: nn.Sequential, tmp_path: Path
) -> None:
    path = tmp_path / "gallery.index"
    im = mp.InferenceModel(model)
    im.train_indexer(images)
    im.save_index(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IndexFileError, match="is damaged or cut short"):
        im.load_index(path)
    assert len(im.get_nearest_neighbors(images, 1).indices) == 200


def test_an_index_saved_without_a_model_is_loaded_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "gallery.index"
    indexer = mp.FaissIndexer()
    indexer.add(np.eye(3))
    indexer.save(path, IndexDetails(labels=np.array(["a", "b", "c"])))
    im = mp.InferenceModel(nn.Identity())
    with pytest.raises(IndexFileError, match="made by other weights"):
        im.load_index(path)
    im.load_index(path, any_model=True)
    assert im.predict_label(torch.eye(3)).tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="`method` 'centroid' needs a gallery that `save_index`"):
        im.predict_label(torch.eye(3), method="centroid")


@pytest.mark.parametrize("inputs", [None, ("image",)])
@pytest.mark.parametrize("convert", [lambda images: images, as_list, as_dataset])
def test_samples_without_a_name_are_the_first_of_the_fields(
    images: Tensor, model: nn.Sequential, inputs: Any, convert: Callable[[Tensor], Any]
) -> None:
    expected = mp.InferenceModel(model).get_embeddings(images)
    named = mp.InferenceModel(model, fields=("image", "label"), inputs=inputs)
    assert torch.equal(named.get_embeddings(convert(images)), expected)
    named.train_indexer(labelled(images), labels="label")
    assert named.predict_label(images).tolist() == (np.arange(len(images)) % 5).tolist()
