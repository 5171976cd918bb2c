"""The script that runs here as ``__main__``, and the name by which a worker process imports it.

``name_of_main`` decides from facts alone. The rest of this module gathers those facts, and finds what the script
defines: its classes and functions are written by that name, so that a worker meets its own and not a copy.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import linecache
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = [
    "MAINS",
    "Facts",
    "Home",
    "Script",
    "home_of",
    "importable_name",
    "is_imported",
    "main_name",
    "name_of_main",
    "names_a_script",
    "reference_to",
    "script_named",
    "scripts",
]

#: ``__module__`` of objects that the main script defines; the second name in children of multiprocessing that were
#: not forked.
MAINS = frozenset({"__main__", "__mp_main__"})
#: File names that prompts give to the code typed there.
_PROMPT = re.compile(r"<(stdin|console|doctest|([\w-]+-)?input)\b.*>")
#: The current directory at the start of this process: a script may change it before it defines its tasks.
try:
    _START = os.getcwd()
except OSError:  # The directory was deleted.
    _START = os.sep


class Facts(NamedTuple):
    """Facts about a namespace that calls itself ``__main__``, and about one function in it."""

    #: Name in ``__spec__``; None if there is none, or if it is that of a tool which runs another file.
    spec: str | None
    #: Path of the file that defines it, symbolic links resolved.
    file: str | None
    #: Whether the file exists.
    exists: bool
    #: Whether ``__init__.py`` lies beside the file.
    in_package: bool
    #: Directories that modules may be imported from, symbolic links resolved.
    roots: tuple[str, ...]
    #: File name in the function's code; None for ``__main__`` as a whole.
    code: str | None = None


class Home(NamedTuple):
    """Where other processes find a function: the module's name, or None and why there is no such module."""

    name: str | None
    why_not: str = ""


_INTERACTIVE = Home(None, "was defined in an interactive session, where no worker process can find it.")
_COMMAND = Home(None, "was defined in the code of `python -c`, where no worker process can find it.")


@functools.lru_cache(maxsize=256)
def name_of_main(facts: Facts) -> Home:
    """The name by which another process imports this ``__main__``."""
    if facts.code is not None and _PROMPT.fullmatch(facts.code):
        return _INTERACTIVE
    if facts.spec is not None and facts.spec != "__main__":
        # A module of Python itself: its prompt (`python -m asyncio`), or a tool that runs something else.
        return _INTERACTIVE if facts.spec.partition(".")[0] in sys.stdlib_module_names else Home(facts.spec)
    if facts.file is None:
        return _COMMAND if facts.code == "<string>" else _INTERACTIVE
    folder, base = os.path.split(facts.file)
    stem = os.path.splitext(base)[0]
    if not facts.exists and stem != "__main__":
        return Home(None, f'was defined in "{facts.file}", which is not a file that a worker process can import.')
    if not facts.exists or (stem == "__main__" and not facts.in_package):
        return Home(
            None,
            f'was defined in the "__main__" of "{os.path.basename(folder)}", and no worker process can import a module '
            "by that name.",
        )
    for root in facts.roots:
        if facts.file.startswith(root.rstrip(os.sep) + os.sep):
            dotted = os.path.splitext(os.path.relpath(facts.file, root))[0].replace(os.sep, ".")
            # The file of a package, run as a script.
            dotted = dotted.removesuffix(".__init__")
            if dotted not in ("__main__", "__init__") and all(part.isidentifier() for part in dotted.split(".")):
                return Home(dotted)
    if stem == "__main__":
        stem = f"{os.path.basename(folder)}.__main__"
    elif stem == "__init__":
        stem = os.path.basename(folder)
    if all(part.isidentifier() for part in stem.split(".")):
        return Home(stem)
    return Home(
        None,
        f'was defined in "{base}", which no worker process can import: "{stem}" is not a valid module name in Python. '
        f'Rename the file, for example to "{importable_name(stem)}.py".',
    )


def importable_name(stem: str) -> str:
    """A similar name that is valid in an import."""
    name = re.sub(r"\W", "_", stem)
    return name if name.isidentifier() else f"_{name}"


# ---- the facts


def _facts(namespace: dict[str, Any], code: str | None) -> Facts:
    spec, path = namespace.get("__spec__"), namespace.get("__file__")
    name, origin = getattr(spec, "name", None), getattr(spec, "origin", None)
    file = _real(path) if isinstance(path, str) else None
    if file is not None and code is not None and os.path.isfile(_real(code)):
        # A tool that runs a script in its own namespace (a profiler, for one) leaves its own path there.
        file = _real(code)
    if file is not None and isinstance(origin, str) and _real(origin) != file:
        name = None
    exists = file is not None and os.path.isfile(file)
    folder = os.path.dirname(file) if file is not None else ""
    # The path of a worker begins with its current directory, that of a script with the folder of the script.
    roots = [os.path.realpath(root or _START) for root in (*sys.path[1:], _START)]
    roots = [root for root in roots if not root.endswith(("site-packages", "dist-packages"))]
    return Facts(
        name,
        file,
        exists,
        exists and os.path.isfile(os.path.join(folder, "__init__.py")),
        (*roots, folder),
        code,
    )


def _real(path: str) -> str:
    return os.path.realpath(os.path.join(_START, path))


def home_of(function: Callable[..., Any]) -> Home:
    """Where other processes find this function."""
    module = getattr(function, "__module__", None)
    inner = inspect.unwrap(function)
    code = getattr(getattr(inner, "__code__", None), "co_filename", None)
    if isinstance(module, str) and module not in MAINS:
        # One that was typed at a prompt, whatever module the prompt stands in.
        return _INTERACTIVE if code is not None and _PROMPT.fullmatch(code) else Home(module)
    if module is None:
        return _INTERACTIVE
    namespace = getattr(inner, "__globals__", None)
    if namespace is None or namespace.get("__name__") not in MAINS:
        namespace, code = _main_namespace(), None
    home = name_of_main(_facts(namespace, code))
    if home.name is not None and namespace is not _main_namespace():
        _learned[home.name] = Script(home.name, namespace)
    _find_scripts()
    return home


def _main_namespace() -> dict[str, Any]:
    return vars(sys.modules["__main__"])


def main_name() -> str | None:
    """The name by which another process imports what runs here as ``__main__``; None where no process can."""
    return name_of_main(_facts(_main_namespace(), None)).name


# ---- what scripts define


class Script(NamedTuple):
    """A namespace that calls itself ``__main__``, by the name under which workers import its file."""

    name: str
    namespace: dict[str, Any]

    def find(self, qualname: str) -> Any:
        """What the script itself defines under this name, else None."""
        first, *others = qualname.split(".")
        found = self.namespace.get(first)
        for part in others:
            found = getattr(found, part, None)
        return found if getattr(found, "__module__", None) in MAINS else None


#: Scripts that a tool runs in a namespace which is not that of ``sys.modules["__main__"]``, by name.
_learned: dict[str, Script] = {}
#: What ``scripts`` found last, for which main module, and the names in bytes.
_known: tuple[Script, ...] = ()
_known_for: Any = None
_encoded: tuple[bytes, ...] = ()


def scripts() -> tuple[Script, ...]:
    """The scripts that run here and that a worker can import; mostly one, none at a prompt."""
    if sys.modules.get("__main__") is not _known_for:
        _find_scripts()
    return _known


def _find_scripts() -> None:
    global _known, _known_for, _encoded
    name = main_name()
    own = () if name is None else (Script(name, _main_namespace()),)
    _known = own + tuple(script for script in _learned.values() if script.name != name)
    _encoded = tuple(script.name.encode() for script in _known)
    # Set last, since other threads test it first.
    _known_for = sys.modules["__main__"]


def names_a_script(body: bytes) -> bool:
    """Whether a body may refer to a script that runs here. Must be cheap: called for every job."""
    if sys.modules.get("__main__") is not _known_for:
        _find_scripts()
    for name in _encoded:  # noqa: SIM110 - a generator costs more than all of the rest
        if body.find(name) >= 0:
            return True
    return False


def script_named(name: str, function: Callable[..., Any] | None) -> Script | None:
    """The script that workers import under this name, if values of this function's jobs belong to it.

    A module may have imported the script by its name, so that each class of it exists twice here. Then a function
    of ``__main__`` gets those of ``__main__``, and any other function those of the module.
    """
    for script in scripts():
        if script.name == name:
            module = getattr(function, "__module__", None)
            return script if module in MAINS or (module != name and not is_imported(script)) else None
    return None


def is_imported(script: Script) -> bool:
    """Whether a module has imported the script by its name, so that there is a second copy of it in this process."""
    copy = sys.modules.get(script.name)
    files = getattr(copy, "__file__", None), script.namespace.get("__file__")
    return copy is not None and len({_real(file) for file in files if isinstance(file, str)}) == 1


def reference_to(thing: Any, qualname: str | None = None) -> tuple[str, str] | None:
    """Module and name under which a worker finds this class or function of the script; None if it cannot."""
    name: str = getattr(thing, "__qualname__", "") if qualname is None else qualname
    for script in scripts():
        if script.find(name) is thing and name.partition(".")[0] in _importable(script):
            return script.name, name
    return None


def _importable(script: Script) -> frozenset[str]:
    """Names that the source binds when it is imported, without those that it binds only as ``__main__``."""
    path = _real(script.namespace.get("__file__") or "")
    return _bound("".join(linecache.getlines(path, script.namespace)))


@functools.lru_cache(maxsize=8)
def _bound(source: str) -> frozenset[str]:
    try:
        return frozenset(_bindings(ast.parse(source).body))
    except (SyntaxError, ValueError):
        return frozenset()


def _bindings(body: list[Any]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign() | ast.AnnAssign():
                for target in ast.walk(node):
                    if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                        yield target.id
            case ast.If():
                only_here = _asks_for_main(node.test)
                if only_here is not True:
                    yield from _bindings(node.body)
                if only_here is not False:
                    yield from _bindings(node.orelse)
            case _:
                if isinstance(name := getattr(node, "name", None), ast.Name):  # of a `type` statement
                    yield name.id
                for block in ("body", "cases", "handlers", "orelse", "finalbody"):
                    yield from _bindings(getattr(node, block, []))


def _asks_for_main(test: ast.expr) -> bool | None:
    """Whether a condition holds in the main script alone (True), or everywhere else (False); None: in both."""
    if not any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test)):
        return None
    with contextlib.suppress(AttributeError, IndexError):
        if isinstance(test.ops[0], ast.NotEq):  # type: ignore[attr-defined]
            return False
    return True
