"""The texts that `--help` shows for settings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types


def use_docstrings(*settings: type) -> None:
    """Makes tyro wrap the docstrings of settings at the terminal's width.

    By default tyro keeps the line breaks of the source.

    Args:
        settings: dataclasses with a docstring below each field.
    """
    for cls in settings:
        texts: dict[str, str] = {}
        for base in reversed(cls.__mro__[:-1]):
            texts |= field_docstrings(base)
        for field in dataclasses.fields(cls):
            if field.name in texts:  # tyro looks here first
                field.metadata = types.MappingProxyType({"help": texts[field.name]})


def field_docstrings(cls: type) -> dict[str, str]:
    """The docstrings below a class's own fields, one line each; empty if its source is missing."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except OSError:
        return {}
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    body = definition.body
    return {
        field.target.id: " ".join(str(below.value.value).split())
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }
