import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from milepost.callbacks import (
    Callback,
    Callbacks,
    Loop,
    Moment,
    Record,
    Scheduled,
    Solo,
    World,
)


class Diary(Callback):
    """Writes each hook into a list that it shares with others; fails where it is told to."""

    def __init__(
        self, name: str, diary: list[str], *, every: Scheduled = "2 steps", fails: str = ""
    ) -> None:
        self.name = name
        self.every = every
        self._diary = diary
        self._fails = fails

    def _note(self, hook: str) -> None:
        self._diary.append(f"{self.name}.{hook}")
        if self._fails == hook:
            msg = f"{self.name}.{hook} failed"
            raise OSError(msg)

    def setup(self) -> None:
        self._note("setup")

    def before_train(self) -> None:
        self._note("before_train")

    def before_epoch(self) -> None:
        self._note("before_epoch")

    def after_step(self) -> None:
        self._note(f"after_step {self.trainer.step}")

    def after_epoch(self) -> None:
        self._note(f"after_epoch {self.trainer.epoch}")

    def trigger(self) -> None:
        self._note("trigger")

    def on_metrics(self, record: Record, weights: Callable[[], Mapping[str, Any]]) -> None:
        self._note(f"on_metrics {weights()}")

    def after_train(self) -> None:
        self._note("after_train")

    def on_exception(self, error: BaseException) -> None:
        self._note(f"on_exception {type(error).__name__}")


def train(callbacks: list[Callback], steps: int = 2) -> None:
    with Loop(None, callbacks=callbacks, monitors=[]) as loop:
        for _ in loop.epochs(1):
            for _ in loop.steps(range(steps)):
                pass


def test_hooks_run_in_list_order_then_what_is_due_in_list_order() -> None:
    diary: list[str] = []
    train([Diary("a", diary, every="1 step"), Diary("b", diary, every="2 steps | at end")])
    assert diary == [
        "a.setup",
        "b.setup",
        "a.before_train",
        "b.before_train",
        "a.before_epoch",
        "b.before_epoch",
        "a.after_step 1",
        "b.after_step 1",
        "a.trigger",
        "a.after_step 2",
        "b.after_step 2",
        "a.trigger",
        "b.trigger",
        "a.after_epoch 1",
        "b.after_epoch 1",
        "a.after_train",
        "b.after_train",
    ]


def test_what_is_due_at_the_end_runs_before_any_after_train() -> None:
    diary: list[str] = []
    train([Diary("a", diary), Diary("b", diary, every="at end")])
    assert diary[-3:] == ["b.trigger", "a.after_train", "b.after_train"]


def test_a_record_reaches_every_callback_with_its_weights() -> None:
    diary: list[str] = []
    with Loop(None, callbacks=[Diary("a", diary), Diary("b", diary)], monitors=[]) as loop:
        diary.clear()
        loop.publish(Record(runner="validation", scalars={"validation/x": 1.0}), lambda: {"w": 2})
        assert diary == ["a.on_metrics {'w': 2}", "b.on_metrics {'w': 2}"]


@pytest.mark.parametrize("hook", ["before_epoch", "after_step 1", "trigger", "after_epoch 1"])
def test_an_error_in_a_hook_ends_the_training_after_the_clean_up_of_all(hook: str) -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match=f"^a.{hook} failed$"):
        train([Diary("a", diary, fails=hook), Diary("b", diary, every="at end")])
    assert diary[-4:] == [
        "a.on_exception OSError",
        "b.on_exception OSError",
        "a.after_train",
        "b.after_train",
    ]
    assert "b.trigger" not in diary


def test_an_error_in_what_is_due_at_the_end_is_an_error_of_the_training() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match=r"^a\.trigger failed$"):
        train([Diary("a", diary, every="at end", fails="trigger"), Diary("b", diary)])
    assert diary[-5:] == [
        "a.trigger",
        "a.on_exception OSError",
        "b.on_exception OSError",
        "a.after_train",
        "b.after_train",
    ]


def test_every_after_train_runs_and_the_first_error_is_raised_with_the_others_noted() -> None:
    diary: list[str] = []
    callbacks: list[Callback] = [
        Diary("a", diary, fails="after_train"),
        Diary("b", diary, fails="after_train"),
        Diary("c", diary),
    ]
    with pytest.raises(OSError, match=r"^a\.after_train failed") as caught:
        train(callbacks)
    assert diary[-3:] == ["a.after_train", "b.after_train", "c.after_train"]
    assert "b.after_train failed" in caught.value.__notes__[0]


def test_after_a_failed_setup_only_those_that_were_set_up_are_ended() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match=r"^b\.setup failed$"):
        train([Diary("a", diary), Diary("b", diary, fails="setup"), Diary("c", diary)])
    assert diary == ["a.setup", "b.setup", "a.on_exception OSError", "a.after_train"]


def test_a_group_in_a_group_runs_its_members() -> None:
    diary: list[str] = []
    train([Callbacks([Diary("a", diary)]), Diary("b", diary)])
    assert [line for line in diary if "trigger" in line] == ["a.trigger", "b.trigger"]


def test_a_method_may_say_when() -> None:
    class Own(Callback):
        def __init__(self) -> None:
            self.steps: list[int] = []

        def every(self, moment: Moment) -> bool:
            return moment.step == 2

        def trigger(self) -> None:
            self.steps.append(self.trainer.step)

    own = Own()
    train([own], steps=3)
    assert own.steps == [2]


class Counting(Callback):
    """Counts its triggers, over a resume."""

    every = "3 steps"

    def __init__(self) -> None:
        self.count = 0

    def trigger(self) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class Named(Counting):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def test_states_are_kept_by_name_or_else_by_class() -> None:
    group = Callbacks([Counting(), Named("validation"), Counting(), Named("test"), Callback()])
    assert list(group.state_dict()) == ["Counting", "validation", "Counting_2", "test", "Callback"]


def test_a_new_member_starts_afresh_and_the_others_find_their_state() -> None:
    old, new = Named("old"), Named("new")
    old.count = 5
    state = Callbacks([old]).state_dict()
    again = Named("old")
    Callbacks([new, again]).load_state_dict(state)
    assert (again.count, new.count) == (5, 0)


def test_a_state_of_no_member_is_a_warning() -> None:
    state = Callbacks([Named("gone")]).state_dict()
    with pytest.warns(UserWarning, match="'gone'") as caught:
        Callbacks().load_state_dict(state)
    assert str(caught[0].message) == (
        "the saved state of the callback 'gone' is not used: there is none now"
    )


def test_the_second_of_two_with_one_name_is_renamed_with_a_warning() -> None:
    callbacks = [Named("validation"), Named("validation_2"), Named("validation")]
    with pytest.warns(UserWarning, match="'validation'") as caught:
        group = Callbacks(callbacks)
    assert str(caught[0].message) == (
        "two callbacks are named 'validation': the second is now 'validation_3'; give each a `name`"
    )
    assert [callback.name for callback in callbacks] == [
        "validation",
        "validation_2",
        "validation_3",
    ]
    assert list(group.state_dict()) == ["validation", "validation_2", "validation_3"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Callbacks(callbacks)


def test_the_same_object_twice_is_an_error() -> None:
    member = Named("validation")
    with pytest.raises(ValueError, match=r"^`callbacks` may hold an object once, got .* twice$"):
        Callbacks([member, member])


def test_what_is_no_callback_is_an_error() -> None:
    with pytest.raises(TypeError) as caught:
        Callbacks([print])  # type: ignore[list-item]
    assert str(caught.value) == (
        "`callbacks` must hold Callback objects, got <built-in function print>"
    )
    with pytest.raises(TypeError, match=r"^`callbacks` must be a list of Callback objects, got "):
        Callbacks(Named("validation"))  # type: ignore[arg-type]


class Told(Solo):  # type: ignore[misc]  # final for users
    """A rank whose chief has given its answers."""

    rank = 1
    size = 2

    def __init__(self, answers: list[list[bool]]) -> None:
        self.answers = answers
        self.own: list[Any] = []

    def broadcast(self, value: Any, source: int = 0) -> Any:
        self.own.append(value)
        return self.answers.pop(0)


class Fixed:
    """A trainer that stands where the test puts it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.step = 0
        self.epoch = 0
        self.elapsed_s = 0.0


def driven(every: list[Scheduled], world: World, steps: int) -> list[str]:
    diary: list[str] = []
    group = Callbacks([Diary(f"c{number}", diary, every=when) for number, when in enumerate(every)])
    group.trainer = Fixed(world)  # type: ignore[assignment]
    group.setup()
    for step in range(1, steps + 1):
        group.trainer.step = step  # type: ignore[misc]
        group.after_step()
    return [line for line in diary if "trigger" in line]


def test_over_ranks_the_chief_decides_where_clocks_and_functions_do() -> None:
    world = Told([[False, True], [True, False]])
    assert driven(["1 step", lambda moment: False], world, 2) == ["c1.trigger", "c0.trigger"]
    assert world.own == [[True, False], [True, False]]


def test_over_ranks_nothing_is_asked_where_all_count_alike() -> None:
    world = Told([])
    assert driven(["1 step", "2 steps"], world, 2) == ["c0.trigger", "c0.trigger", "c1.trigger"]


def test_the_end_comes_once_where_it_is_before_the_end_of_all() -> None:
    asked: list[str] = []

    def never(moment: Moment) -> bool:
        asked.append(moment.phase)
        return False

    group = Callbacks([Diary("a", [], every=never)])
    group.trainer = Fixed(Solo())  # type: ignore[assignment]
    for _ in range(2):  # each training has one of its own
        group.setup()
        group.at_end()
        group.after_train()
    assert asked == ["end", "end"]


def test_who_measures_a_metric_is_triggered_for_it_once_a_moment() -> None:
    diary: list[str] = []
    group = Callbacks([Diary("a", diary, every="2 steps"), Diary("a/b", diary, every="9 steps")])
    group.trainer = Fixed(Solo())  # type: ignore[assignment]
    group.setup()
    for step in (1, 2, 3):
        group.trainer.step = step  # type: ignore[misc]
        group.after_step()
        assert group.trigger_for("a/hit_rate@1") == "a"
        assert group.trigger_for("a") is None
    assert [line for line in diary if "setup" not in line] == [
        *["a.after_step 1", "a/b.after_step 1", "a.trigger"],
        *["a.after_step 2", "a/b.after_step 2", "a.trigger"],
        *["a.after_step 3", "a/b.after_step 3", "a.trigger"],
    ]


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("after_epochs", "after_epoch"),
        ("on_metric", "on_metrics"),
        ("set_up", "setup"),
        ("before_training", "before_train"),
    ],
)
def test_a_method_that_is_nearly_a_hook_is_a_warning(name: str, hook: str) -> None:
    with pytest.warns(UserWarning, match="no hook") as caught:
        type("Own", (Callback,), {name: lambda self: None})
    assert [str(warning.message) for warning in caught] == [
        f"`Own.{name}` is no hook and is never called; did you mean {hook!r}? "
        "Begin its name with '_' if it is a method of your own"
    ]


def test_hooks_and_methods_of_other_names_are_no_warning() -> None:
    class Own(Callback):
        best = 0.0

        def after_epoch(self) -> None:
            self._after_epochs()

        def _after_epochs(self) -> None: ...

        def predict(self) -> None: ...

        def every(self, moment: Moment) -> bool:
            return moment.phase == "end"

    assert Own().best == 0.0
