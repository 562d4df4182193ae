"""No module of the package imports itself, however long the way round: imports inside functions count, imports for
type checkers alone do not. (A module loaded by name through a registry is not imported by whoever loads it.)"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "koala_middleware"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, modules: Collection[str]) -> Iterator[str]:
    """The modules that `import` statements name, at any depth."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "the package imports by absolute names"
            for alias in node.names:
                longest = f"{node.module}.{alias.name}"
                found = longest if longest in modules else node.module or ""
                yield from {found} & set(modules)
        yield from imports(node, modules)


def import_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """The modules that each module imports."""
    return {
        module: set(imports(ast.parse(source), sources.keys())) - {module}
        for module, source in sources.items()
    }


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one import circle, the first also last; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def test_the_package_has_no_import_circle() -> None:
    graph = import_graph({module_name(path): path.read_text() for path in PACKAGE.rglob("*.py")})
    assert len(graph) > 100
    assert circle_in(graph) == []


def test_an_import_inside_a_function_closes_a_circle() -> None:
    graph = import_graph({"a": "import b", "b": "def late():\n    from a import name"})
    assert set(circle_in(graph)) == {"a", "b"}


def test_an_import_for_type_checkers_closes_none() -> None:
    graph = import_graph({"a": "import b", "b": "if TYPE_CHECKING:\n    import a"})
    assert circle_in(graph) == []


def test_a_package_that_imports_its_module_is_in_a_circle_with_a_module_that_imports_the_package() -> None:
    graph = import_graph({"a": "from a.b import name", "a.b": "from a import other"})
    assert set(circle_in(graph)) == {"a", "a.b"}
