"""An extension of griffe, which reads the sources for the reference: what it takes for public."""

import ast
from typing import Any

import griffe


class PublicNames(griffe.Extension):
    """`import X as X` makes X public, and a docstring's `Example` is a section of examples."""

    def on_alias_instance(
        self, *, alias: griffe.Alias, node: ast.ImportFrom, **kwargs: Any
    ) -> None:
        """Mark the names that a folder re-exports."""
        if any(name.asname == alias.name == name.name for name in node.names):
            alias.public = True

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Give the section the title that griffe knows."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
