import numpy as np

from milepost.callbacks.monitors._thinned import thinned


def test_a_table_that_is_small_enough_stays_whole() -> None:
    table = {"id": [1, 2, 3], "x": np.ones((3, 2))}
    assert {name: column.shape for name, column in thinned(table, 3).items()} == {
        "id": (3,),
        "x": (3, 2),
    }
    assert thinned({}, 3) == {}


def test_ids_are_kept_whole_and_evenly_in_their_order() -> None:
    ids = np.array(["c", "c", "a", "a", "d", "d", "b", "b"])
    assert thinned({"id": ids, "rank": np.arange(8) % 2}, 5)["id"].tolist() == ["c", "c", "d", "d"]


def test_tables_of_one_evaluation_keep_the_same_ids() -> None:
    queries = thinned({"id": np.arange(1000)}, 100)["id"]
    neighbors = thinned({"id": np.repeat(np.arange(1000), 5)}, 100)["id"]
    assert len(queries) == len(neighbors) == 100
    assert set(neighbors) < set(queries)


def test_an_id_of_too_many_rows_is_cut() -> None:
    assert thinned({"id": np.zeros(9), "x": np.arange(9)}, 4)["x"].tolist() == [0, 1, 2, 3]


def test_a_curve_keeps_its_ends() -> None:
    assert thinned({"threshold": np.arange(101)}, 5)["threshold"].tolist() == [0, 25, 50, 75, 100]
