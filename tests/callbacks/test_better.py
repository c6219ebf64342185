import pytest

from milepost.callbacks import better
from milepost.callbacks._better import MODES
from tests.pages import metrics


def test_every_metric_of_the_definitions_has_a_way_or_none() -> None:
    assert set(MODES) == {name.partition("@")[0].partition("/")[0] for name in metrics()}


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("validation/map@r", "max"),
        ("hit_rate@10", "max"),
        ("validation/error@1", "min"),
        ("validation/classification_error/error", "min"),
        ("validation/species/ndcg@5", "max"),
        ("validation/tar@far=0.001", "max"),
        ("validation/far@far=0.001/worst_group", "min"),
        ("validation/far@best_f1", "min"),
        ("validation/ece/low", "min"),
        ("validation/mrr/high", "max"),
        ("validation/threshold@far=0.01", None),
        ("validation/fold_accuracy_standard_error", None),
        ("validation/rows_saved", None),
        ("validation/alignment", None),
        ("validation/uniformity", None),
        ("validation/hubness", "min"),
        ("validation/model.loss", "min"),
        ("validation/LOSS", "min"),
        ("validation/mean_squared_error", "min"),
        ("validation/multiclass_accuracy", "max"),
        ("validation/loss_scale", None),
        ("validation/gloss", None),
        ("validation/low", None),
        ("low", None),
    ],
)
def test_the_name_tells_which_way_is_better(name: str, way: str | None) -> None:
    assert better(name) == way
