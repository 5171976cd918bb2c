"""Modules whose code is read when a service starts, and which are made by a process that comes to need them."""

from __future__ import annotations

import marshal
import sys
import zlib
from collections.abc import Iterable, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from pkgutil import iter_modules
from types import CodeType, ModuleType

__all__ = ["keep_code"]


class _Kept(MetaPathFinder, InspectLoader):
    """Finds these modules before any folder is searched, and makes them from their code in memory."""

    def __init__(self) -> None:
        #: The path of the file, and the compressed code, by the name of the module.
        self._code: dict[str, tuple[str, bytes]] = {}

    def add(self, name: str) -> None:
        spec = find_spec(name)
        if name not in sys.modules and spec is not None and isinstance(spec.loader, InspectLoader):
            code = spec.loader.get_code(name)
            if code is not None:
                self._code[name] = str(spec.origin), zlib.compress(marshal.dumps(code))

    def add_all_in(self, package: str) -> None:
        folders = getattr(sys.modules.get(package), "__path__", ())
        for found in iter_modules(folders, f"{package}."):
            self.add(found.name)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._code:
            return None
        spec = spec_from_loader(fullname, self, origin=self._code[fullname][0])
        assert spec is not None
        spec.has_location = True
        return spec

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = marshal.loads(zlib.decompress(self._code[fullname][1]))
        return code

    def get_source(self, fullname: str) -> str | None:
        """None: the source may be that of another release by now."""
        return None


def keep_code(names: Iterable[str]) -> None:
    """Read the code of modules, and of those in packages, that are not imported yet: an import in this process and its
    forks makes them from it.

    That takes a fraction of the memory of the modules, and never the code of another release that is installed later.
    """
    kept = _Kept()
    for name in names:
        kept.add(name)
        kept.add_all_in(name)
    sys.meta_path.insert(0, kept)
