"""Hash our source code by meaning: syntax trees without comments, docstrings, positions or file names.

`SourceTree.hash` covers the closure of some modules: the modules themselves and every module of the package
that they import, at the top or inside a function, or whose functions they name in a string such as
`"package.module:function"`. Imports under `TYPE_CHECKING` do not run and do not count. The name and place of
a module and the order of its imports do not count either.

The text of exceptions does not count: of `raise`, only the class is hashed, without arguments and cause;
of `assert`, only the condition. Modules that are left out (checks and reporting) are not followed, and calls
of functions imported from them are hashed without their arguments, which are messages.
"""

import ast
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

IGNORED_FIELDS = ("ctx", "kind", "type_comment", "type_ignores")


@dataclass
class _Module:
    """One parsed file.

    Attributes:
        code: hash of its code, with imports taken out and names of imported modules replaced by numbers.
        modules: the first-party modules behind each number (several if functions reuse a local name).
        symbols: (module, symbol, local name) of every other first-party import.
    """

    code: str
    modules: list[set[str]]
    symbols: set[tuple[str, str, str]]

    @property
    def imports(self) -> set[str]:
        return {module for module, _, _ in self.symbols}.union(*self.modules)


@dataclass
class SourceTree:
    """The Python files of one package, found, parsed and hashed when they are needed and each only once.

    Attributes:
        root: the package's folder; its name is the package's name.
        left_out: modules that are not followed, a package with all its modules.
    """

    root: Path
    left_out: Collection[str] = ()
    _parsed: dict[Path, _Module] = field(default_factory=dict, repr=False)
    _paths: dict[str, Path | None] = field(default_factory=dict, repr=False)
    _links: dict[str, str] = field(default_factory=dict, repr=False)

    def path(self, module: str) -> Path | None:
        """Return the file of a dotted module name, or None if the package has no such module."""
        if module not in self._paths:
            self._paths[module] = self._find(module)
        return self._paths[module]

    def _find(self, module: str) -> Path | None:
        first, *parts = module.split(".")
        if first != self.root.name:
            return None
        place = self.root.joinpath(*parts)
        for path in (place.with_name(f"{place.name}.py") if parts else None, place / "__init__.py"):
            if path is not None and path.is_file():
                return path
        return None

    def is_left_out(self, module: str) -> bool:
        """Return whether a module, or a package that it is in, is left out."""
        return any(module == name or module.startswith(f"{name}.") for name in self.left_out)

    def closure(self, modules: Iterable[str]) -> set[str]:
        """Return the given modules and all first-party modules that they reach.

        Raises:
            LookupError: the package has no module of a given name.
        """
        reached: set[str] = set()
        waiting = list(modules)
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self._module(name).imports
        return reached

    def hash(self, modules: Iterable[str]) -> str:
        """Return 16 hexadecimal digits that depend on the code of the closure of `modules`."""
        return combined(map(self._link, self.closure(modules)))

    def file_hash(self, path: Path) -> str:
        """Return the hash of a file outside the package and of the package's modules that it imports."""
        module = self._parse(path)
        return combined([self._linked(module), self.hash(module.imports)])

    def _module(self, name: str) -> _Module:
        path = self.path(name)
        if path is None:
            raise LookupError(f"{self.root} has no module {name}")
        return self._parse(path)

    def _parse(self, path: Path) -> _Module:
        if path not in self._parsed:
            self._parsed[path] = _Reader(self, path).read()
        return self._parsed[path]

    def _link(self, name: str) -> str:
        if name not in self._links:
            self._links[name] = self._linked(self._module(name))
        return self._links[name]

    def _linked(self, module: _Module) -> str:
        """Hash a module together with the code, not the names, of the modules that it imports."""

        def code(name: str) -> str:
            return self._module(name).code

        modules = [" ".join(sorted(map(code, names))) for names in module.modules]
        symbols = sorted(f"{code(name)} {symbol} {local}" for name, symbol, local in module.symbols)
        return _sha256("\n".join([module.code, *modules, *symbols]))


def combined(hashes: Iterable[str]) -> str:
    """Return one hash of several, independent of their order: 16 hexadecimal digits."""
    return _sha256("\n".join(sorted(hashes)))[:16]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class _Reader:
    """Turns one file into a `_Module`."""

    def __init__(self, tree: SourceTree, path: Path) -> None:
        self.tree, self.path = tree, path
        self.package = tree.root.name
        self.by_name = re.compile(rf"({re.escape(self.package)}(?:\.\w+)+)(:[\w.]+)")
        self.aliases: dict[str, set[str]] = {}  # local name -> first-party modules
        self.symbols: set[tuple[str, str, str]] = set()
        self.external: set[str] = set()  # imports of other packages
        self.reporting: set[str] = set()  # local names of what is imported from modules that are left out
        self.numbers: dict[str, int] = {}  # local name of a module -> order of its first use

    def read(self) -> _Module:
        tree = ast.parse(self.path.read_bytes())
        for node in _statements_that_run(tree):
            if isinstance(node, ast.Import):
                self._import(node)
            elif isinstance(node, ast.ImportFrom):
                self._import_from(node)
        code: list[str] = []
        self._write(tree, code)
        code_hash = _sha256("\n".join(["".join(code), *sorted(self.external)]))
        unused = set[str]().union(*(m for name, m in self.aliases.items() if name not in self.numbers))
        symbols = self.symbols | {(module, "", "") for module in unused}
        return _Module(code_hash, [self.aliases[name] for name in self.numbers], symbols)

    def _import(self, node: ast.Import) -> None:
        for name in node.names:
            if self.tree.is_left_out(name.name):
                continue
            if name.asname and self.tree.path(name.name):
                self.aliases.setdefault(name.asname, set()).add(name.name)
            elif self.tree.path(name.name):
                self.symbols.add((name.name, "", ""))
            else:
                self.external.add(f"import {name.name} as {name.asname or ''}")

    def _import_from(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level and self.path.is_relative_to(self.tree.root):
            parents = self.path.relative_to(self.tree.root.parent).parts[: -node.level]
            module = ".".join([*parents, *([module] if module else [])])
        for name in node.names:
            local = name.asname or name.name
            if self.tree.is_left_out(module) or self.tree.is_left_out(f"{module}.{name.name}"):
                self.reporting.add(local)
            elif self.tree.path(f"{module}.{name.name}"):
                self.aliases.setdefault(local, set()).add(f"{module}.{name.name}")
            elif self.tree.path(module):
                self.symbols.add((module, name.name, local))
            else:
                self.external.add(f"from {module} import {name.name} as {local}")

    def _write(self, node: ast.AST, code: list[str]) -> None:
        """Append the tree as text, without the parts that have no effect when the code runs.

        Empty fields are left out, so that versions of Python that add fields give the same text.
        """
        if isinstance(node, ast.Name) and node.id in self.aliases:
            code.append(f"<module {self.numbers.setdefault(node.id, len(self.numbers))}>")
            return
        if isinstance(node, ast.Constant):
            code.append(self._constant(node.value))
            return
        node = self._without_messages(node)
        code.append(type(node).__name__)
        code.append("(")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or name in IGNORED_FIELDS:
                continue
            if isinstance(value, list):
                parts = list(_effective(value))
                if not parts:
                    continue
                code.append(f"{name}=[")
                for part in parts:
                    self._write_value(part, code)
                code.append("]")
            else:
                code.append(f"{name}=")
                self._write_value(value, code)
        code.append(")")

    def _without_messages(self, node: ast.AST) -> ast.AST:
        """Return a node without the text of exceptions, and without arguments of functions that report."""
        if isinstance(node, ast.Raise):
            return ast.Raise(exc=node.exc.func if isinstance(node.exc, ast.Call) else node.exc, cause=None)
        if isinstance(node, ast.Assert):
            return ast.Assert(test=node.test, msg=None)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.reporting:
            return ast.Call(func=node.func, args=[], keywords=[])
        return node

    def _write_value(self, value: "ast.AST | str | int | None", code: list[str]) -> None:
        if isinstance(value, ast.AST):
            self._write(value, code)
        else:
            code.append(repr(value))
        code.append(",")

    def _constant(self, value: object) -> str:
        """Return a constant as text; of a string that names a function of ours, only the function's name."""
        reference = self.by_name.fullmatch(value) if isinstance(value, str) else None
        if reference is None:
            return f"{type(value).__name__} {value!r}"
        module, attribute = reference.groups()
        if self.tree.path(module) is None or self.tree.is_left_out(module):
            return f"str {value!r}"
        self.symbols.add((module, attribute, ""))
        return f"str <module>{attribute!r}"


def _statements_that_run(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, leaving out `if TYPE_CHECKING:`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and _is_type_checking(node):
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def _is_type_checking(node: ast.If) -> bool:
    test = node.test
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def _effective(parts: "list[ast.AST | str | None]") -> "Iterator[ast.AST | str | None]":
    """Yield parts of a list, without docstrings, `if TYPE_CHECKING:` and imports (hashed apart)."""
    for part in parts:
        if isinstance(part, ast.If) and _is_type_checking(part):
            yield from _effective([*part.orelse])
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
            continue
        elif not isinstance(part, ast.Import | ast.ImportFrom):
            yield part
