"""Reading a recipe's file, overrides, and names that do not exist."""

from pathlib import Path
from typing import Any

import pytest

from milepost import _config
from milepost.errors import UnknownNameError


def recipe() -> dict[str, Any]:
    return {
        "epochs": 10,
        "model": {"class_path": "my.Net", "init_args": {"dimension": 64}},
        "runners": {"validation": {"inferencers": [{"class_path": "my.Metric"}]}},
    }


@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("--epochs=3", ["epochs"], 3),
        ("--rundir=runs/other", ["rundir"], "runs/other"),
        ("--model.dimension=32", ["model", "init_args", "dimension"], 32),
        ("--model.init_args.dimension=32", ["model", "init_args", "dimension"], 32),
        ("--model=other.Net", ["model"], {"class_path": "other.Net"}),
        ("--model.class_path=other.Net", ["model", "class_path"], "other.Net"),
        ("--runners.test.every=5%", ["runners", "test", "every"], "5%"),
        (
            "--runners.validation.inferencers.0.k=[1, 2]",
            ["runners", "validation", "inferencers", 0, "init_args", "k"],
            [1, 2],
        ),
    ],
)
def test_an_override_sets_the_value_at_its_path(argument: str, path: list[Any], value: Any) -> None:
    for arguments in ([argument], argument.split("=", 1)):
        config: Any = recipe()
        _config.override(config, arguments)
        for key in path:
            config = config[key]
        assert config == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["epochs"], "an override is `--KEY VALUE` or `--KEY=VALUE`, got 'epochs'"),
        (["--epochs"], "an override is `--KEY VALUE` or `--KEY=VALUE`, got '--epochs'"),
        (["--epochs.x", "3"], "--epochs.x cannot be set: there is no 'x' in 10"),
        (
            ["--runners.validation.inferencers.1.k", "3"],
            "--runners.validation.inferencers.1.k cannot be set: list index out of range",
        ),
    ],
)
def test_an_override_that_leads_nowhere_is_an_error(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        _config.override(recipe(), arguments)


def test_an_unknown_key_is_an_error_that_gives_its_place_and_the_nearest() -> None:
    spec = {"class_path": "milepost.inferencers.Retrieval", "init_args": {"distanc": "l2"}}
    message = "unknown key of model.init_args 'distanc'; did you mean 'distance'"
    with pytest.raises(UnknownNameError, match=message):
        _config.check({"model": spec}, ["model"])
    with pytest.raises(UnknownNameError, match="unknown key 'modell'; did you mean 'model'"):
        _config.check({"modell": spec}, ["model"])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("Linear", "a class path is .* or the name of an inferencer, .* got 'Linear'"),
        ("Retreival", "got 'Retreival'; did you mean 'Retrieval'?"),
        (
            "json.decodr.JSONDecoder",
            "there is no module 'json.decodr' for 'json.decodr.JSONDecoder'",
        ),
        (
            "json.decoder.JSONDecodr",
            "name in module 'json.decoder': 'JSONDecodr'; did you mean 'JSON",
        ),
    ],
)
def test_a_class_path_that_leads_nowhere_is_an_error(path: str, message: str) -> None:
    with pytest.raises(ImportError, match=f"^data.query: .*{message}"):
        _config.check({"data": {"query": {"class_path": path}}}, ["data"])


def test_a_missing_module_of_the_users_own_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_another_module.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="'not_installed_anywhere'"):
        _config.find("needs_another_module.Net", "model")


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2", "epochs"])
def test_a_file_that_holds_no_mapping_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises((TypeError, ValueError), match=r"recipe\.yaml (is not YAML|must hold)"):
        _config.read(path)
