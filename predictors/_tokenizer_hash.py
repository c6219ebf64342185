"""What tells a tokenizer of Hugging Face from others."""

import json
from collections.abc import Callable
from typing import Any, Protocol

_TOLD: dict[str, Callable[[Any], str]] = {
    "AddedToken": repr,
    "Tokenizer": lambda tokenizer: str(tokenizer.to_str()),
}
"""What says all of a value, by its type."""


class Hash(Protocol):
    """What `StateHash` gives to the function here."""

    def word(self, *words: object) -> None: ...
    def add(self, value: Any) -> None: ...
    def is_known(self, value: Any) -> bool: ...


def add_tokenizer(out: Hash, value: Any) -> bool:
    """Add a tokenizer, and tell whether it is one.

    One of `transformers` sets truncation and padding of the one inside it at each call, by its
    arguments: what the last call left there decides nothing.
    """
    package = type(value).__module__.partition(".")[0]
    if package == "tokenizers" and type(value).__name__ in _TOLD:
        out.word(type(value).__name__, _TOLD[type(value).__name__](value))
        return True
    inner = getattr(value, "__dict__", {}).get("_tokenizer") if package == "transformers" else None
    if inner is None or not hasattr(inner, "to_str"):
        return False
    if not out.is_known(value):
        rules = json.loads(inner.to_str())
        rules["truncation"] = rules["padding"] = None
        out.word("tokenizer", json.dumps(rules))
        out.add(type(value))
        out.add({name: part for name, part in vars(value).items() if part is not inner})
    return True
