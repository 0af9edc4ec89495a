"""Make the published file asam_datasets.py from the package asam_datasets/.

    python -m tools.amalgamate            writes the file at the top of the repository
    python -m tools.amalgamate --check    ends with status 1 if the file is stale

The file holds the modules one after another, each after those that it imports. Their text is not
changed. Their imports are merged at the top. Imports from the package itself are left out, because
all names are in the same file. Therefore the modules of the package must follow these rules:

- Imports at the top level stand before everything else.
- What comes from the package comes as `from asam_datasets.MODULE import NAME`, at the top level.
- A name of the top level means the same in all modules.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from builder.core.files import write_bytes

ROOT = Path(__file__).parents[1]
PACKAGE = "asam_datasets"
OUTPUT = f"{PACKAGE}.py"
OMITTED = ("__init__.py", "kernels.py")  # the first only lists names; the second needs a GPU
RULE = "# " + "-" * 98

HEADER = '''"""{title}

This file is version {version} of the project's package asam_datasets/, written into one file by
`python -m tools.amalgamate`. Never edit it by hand: change the package, and make the file again.

It stands alone. It needs datasets, pyarrow, numpy and pillow, and torch for masks on a device.
"""

from __future__ import annotations
'''


class StructureError(Exception):
    """A module of the package is not written as the tool needs it; the message says where."""


@dataclass
class Module:
    """A module of the package, taken apart.

    Imports are kept as statements that import one name each, by the name that they define.
    """

    name: str
    doc: str
    imports: dict[str, str] = field(default_factory=dict)
    typing_imports: dict[str, str] = field(default_factory=dict)  # under `if TYPE_CHECKING:`
    needs: set[str] = field(default_factory=set)  # the package's modules that it imports from
    defines: set[str] = field(default_factory=set)  # the names that it defines at the top level
    text: str = ""  # everything after its imports

    @property
    def file(self) -> str:
        """The module's file, as messages name it."""
        return f"{PACKAGE}/{self.name}.py"


def read_module(path: Path) -> Module:
    """Take a module apart.

    Raises
    ------
    StructureError
        The module is not written as the tool needs it.
    """
    source = path.read_text("utf-8")
    tree = ast.parse(source)
    module = Module(path.stem, ast.get_docstring(tree) or "")
    end = 0  # the last line of the docstring and the imports
    for node in tree.body:
        typing_block = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if isinstance(node, ast.Expr) and node is tree.body[0]:
            end = node.end_lineno or 0
        elif isinstance(node, ast.Import | ast.ImportFrom) or typing_block:
            if module.defines:
                raise _wrong(module, node, "imports must stand before all definitions")
            imports = module.typing_imports if typing_block else module.imports
            for statement in node.body if isinstance(node, ast.If) else [node]:
                _add_import(module, statement, imports)
            end = node.end_lineno or 0
        else:
            module.defines.update(_defined(module, node))
            _refuse_late_imports(module, node)
    module.text = "\n".join(source.splitlines()[end:]).strip("\n")
    return module


def _wrong(module: Module, node: ast.AST, what: str) -> StructureError:
    return StructureError(f"{module.file}:{getattr(node, 'lineno', 0)}: {what}")


def _add_import(module: Module, node: ast.stmt, imports: dict[str, str]) -> None:
    """Add what a statement imports: to `needs` if it is the package's, else to `imports`."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        raise _wrong(module, node, "only imports may stand under TYPE_CHECKING")
    source = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
    for alias in node.names:
        own = (source or alias.name).split(".")[0] == PACKAGE
        if source == "__future__":
            continue
        if own and source.startswith(f"{PACKAGE}.") and not alias.asname:
            module.needs.add(source.removeprefix(f"{PACKAGE}."))
        elif own or (isinstance(node, ast.ImportFrom) and node.level):
            raise _wrong(module, node, f"write from {PACKAGE}.MODULE import NAME")
        else:
            statement = ast.unparse(type(node)(**{**node.__dict__, "names": [alias]}))
            imports[alias.asname or alias.name] = statement


def _defined(module: Module, node: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top level defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
    else:
        raise _wrong(module, node, f"a definition was expected, found {type(node).__name__}")


def _refuse_late_imports(module: Module, node: ast.stmt) -> None:
    """Raise if a function imports from the package: the published file has no such module."""
    for inner in ast.walk(node):
        names = [alias.name for alias in inner.names] if isinstance(inner, ast.Import) else []
        if isinstance(inner, ast.ImportFrom):
            names = [inner.module or PACKAGE]
        if any(name.split(".")[0] == PACKAGE for name in names):
            raise _wrong(module, inner, "an import from the package must stand at the top")


def in_order(modules: Iterable[Module]) -> list[Module]:
    """The modules, each after those that it imports; the same order every time.

    Raises
    ------
    StructureError
        Modules import one another in a circle, or one that is not there, or one name would stand
        for two things.
    """
    by_name = {module.name: module for module in modules}
    meanings: dict[str, tuple[str, str]] = {}  # what each name is, and which file says so
    for module in by_name.values():
        if missing := sorted(module.needs - by_name.keys()):
            raise StructureError(
                f"{module.file} imports {PACKAGE}.{missing[0]}: not in the published file"
            )
        found = dict.fromkeys(sorted(module.defines), f"defined in {module.file}")
        for name, meaning in (found | module.imports | module.typing_imports).items():
            other, file = meanings.setdefault(name, (meaning, module.file))
            if other != meaning:
                raise StructureError(
                    f"{name} means two things: {other} ({file}) and {meaning} ({module.file}): "
                    "rename one of them"
                )
    sorter = TopologicalSorter({name: sorted(by_name[name].needs) for name in sorted(by_name)})
    try:
        return [by_name[name] for name in sorter.static_order()]
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise StructureError(f"modules of {PACKAGE} import one another: {circle}") from error


def amalgamate(package: Path) -> str:
    """The text of the published file.

    Parameters
    ----------
    package
        The package's folder. Its __init__.py gives the title, `__version__` and `__all__`.

    Raises
    ------
    StructureError
        A module is not written as the tool needs it.
    """
    paths = [path for path in sorted(package.glob("*.py")) if path.name not in OMITTED]
    modules = in_order(map(read_module, paths))
    front = ast.parse((package / "__init__.py").read_text("utf-8"))
    title = (ast.get_docstring(front) or "").partition("\n")[0]
    version, public = _literal(front, "__version__"), _literal(front, "__all__")
    if missing := sorted(set(public) - {name for module in modules for name in module.defines}):
        raise StructureError(f"{PACKAGE}/__init__.py: no module defines {missing[0]} of __all__")
    parts = [HEADER.format(title=title, version=version)]
    parts += _import_lines({s for module in modules for s in module.imports.values()})
    if typing := {s for module in modules for s in module.typing_imports.values()}:
        parts += ["", "if TYPE_CHECKING:", *(f"    {line}" for line in sorted(typing))]
    parts += ["", f'__version__ = "{version}"', "", "__all__ = ["]
    parts += [*(f'    "{name}",' for name in public), "]"]
    for module in modules:
        doc = [f"# {line}".rstrip() for line in f"{module.name}.py. {module.doc}".splitlines()]
        parts += ["", RULE, *doc, RULE, "", "", module.text, ""]
    text = "\n".join(parts).rstrip("\n") + "\n"
    ast.parse(text)
    return text


def _import_lines(statements: set[str]) -> list[str]:
    """The statements, first those that import from the standard library."""

    def foreign(statement: str) -> bool:
        return statement.split()[1].split(".")[0] not in sys.stdlib_module_names

    ordered = sorted(statements, key=lambda s: (foreign(s), s.startswith("from"), s))
    first = next((i for i, s in enumerate(ordered) if foreign(s)), len(ordered))
    return [*ordered[:first], "", *ordered[first:]]


def _literal(tree: ast.Module, name: str) -> Any:
    """The value that the package's __init__.py gives a name, written out there."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise StructureError(f"{PACKAGE}/__init__.py: it must say what {name} is")


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.amalgamate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="only check whether the file is stale")
    args = parser.parse_args(argv)
    try:
        data = amalgamate(root / PACKAGE).encode("utf-8")
    except StructureError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    path = root / OUTPUT
    fresh = path.exists() and path.read_bytes() == data
    if args.check and not fresh:
        sys.stderr.write(
            f"error: {OUTPUT} is not what the package {PACKAGE}/ gives: "
            "run `python -m tools.amalgamate` and commit the file\n"
        )
        return 1
    if not fresh:
        write_bytes(path, data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
