"""The task of ``aiotask demo``: it reads a Python file and measures it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import TypedDict

from aiotask import App

__all__ = ["Measures", "app", "measure"]

app = App("demo")

_BLOCKS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
)
_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


class Measures(TypedDict):
    """The measures of one file, as plain data that the history shows; ``error`` says why the file has none."""

    lines: int
    functions: int
    classes: int
    branches: int
    #: Deepest nesting of blocks.
    nesting: int
    error: str


@app.task
def measure(path: str) -> Measures:
    """Parse a file and count what is in it. A file that does not parse is a result, not a failure."""
    with open(path, "rb") as file:
        source = file.read()
    lines = len(source.splitlines())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        text = f"{type(error).__name__}: {error}"
        return Measures(lines=lines, functions=0, classes=0, branches=0, nesting=0, error=text)
    functions = classes = branches = nesting = 0
    for node, depth in _walk(tree):
        nesting = max(nesting, depth)
        functions += isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        classes += isinstance(node, ast.ClassDef)
        branches += _branches(node)
    return Measures(lines=lines, functions=functions, classes=classes, branches=branches, nesting=nesting, error="")


def _branches(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, _BRANCHES))


def _walk(tree: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    """Every node with the number of blocks around and including it; an ``elif`` is no deeper than its ``if``."""
    todo: list[tuple[ast.AST, int]] = [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        yield node, depth
        flat = node.orelse if isinstance(node, ast.If) and len(node.orelse) == 1 else []
        for child in ast.iter_child_nodes(node):
            deeper = isinstance(child, _BLOCKS) and not (isinstance(child, ast.If) and child in flat)
            todo.append((child, depth + deeper))
