"""The texts that `--help` shows for settings."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types


def use_docstrings(*settings):
    """Makes tyro show the docstrings of settings in lines of the terminal's width.

    Left to itself it breaks them where the source does, too.

    Args:
        settings: dataclasses with a docstring below each field.
    """
    for cls in settings:
        texts = {}
        for base in reversed(cls.__mro__[:-1]):
            texts |= field_docstrings(base)
        for field in dataclasses.fields(cls):
            if field.name in texts:  # where tyro looks first
                field.metadata = types.MappingProxyType({"help": texts[field.name]})


def field_docstrings(cls):
    """The docstrings below the fields of a class itself, by name, each in one line.

    Args:
        cls: a class; where its source cannot be read there are none.
    """
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except OSError:
        return {}
    body = ast.parse(source).body[0].body
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
    }
