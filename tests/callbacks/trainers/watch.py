"""A callback that notes what happens to it, whichever framework trains."""

from milepost.callbacks import Callback, Scheduled


class Watch(Callback):
    """Notes each trigger as (step, epoch), each hook, and each error."""

    def __init__(self, every: Scheduled = "1 step") -> None:
        self.every = every
        self.triggers: list[tuple[int, int]] = []
        self.hooks: list[str] = []
        self.errors: list[BaseException] = []

    @property
    def ends(self) -> int:
        """How often a training ended."""
        return self.hooks.count("after_train")

    def setup(self) -> None:
        self.hooks.append("setup")

    def before_train(self) -> None:
        self.hooks.append("before_train")

    def before_epoch(self) -> None:
        self.hooks.append("before_epoch")

    def after_epoch(self) -> None:
        self.hooks.append("after_epoch")

    def trigger(self) -> None:
        self.triggers.append((self.trainer.step, self.trainer.epoch))

    def on_exception(self, error: BaseException) -> None:
        self.errors.append(error)

    def after_train(self) -> None:
        self.hooks.append("after_train")
