"""A NIR graph without graphs inside."""

from __future__ import annotations

import nir

from lava_bsnn.errors import ExportError


def flattened(graph: nir.NIRGraph) -> tuple[dict[str, nir.NIRNode], list[tuple[str, str]]]:
    """Nodes and edges; those of a subgraph ``g`` are called ``g.name``.

    Its Input and Output stay, as nodes that pass on what they get.

    Raises:
        ExportError: a subgraph has not one Input and one Output, or an edge ends nowhere.
    """
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[tuple[str, str]] = []
    entries, exits = {}, {}
    for name, node in graph.nodes.items():
        if not isinstance(node, nir.NIRGraph):
            nodes[name] = node
            continue
        ends = ends_of(node, f"{name}: ")
        inner, wires = flattened(node)
        nodes |= {f"{name}.{key}": value for key, value in inner.items()}
        edges += [(f"{name}.{source}", f"{name}.{target}") for source, target in wires]
        entries[name], exits[name] = (f"{name}.{end}" for end in ends)
    for source, target in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
        edges.append((exits.get(source, source), entries.get(target, target)))
    for edge in edges:
        for end in edge:
            if end not in nodes:
                raise ExportError(f"{end}: an edge names it, but the graph has no such node; mend the graph")
    return nodes, edges


def ends_of(graph: nir.NIRGraph, where: str = "") -> tuple[str, str]:
    """Names of the one Input and the one Output.

    Raises:
        ExportError: there are more, or less.
    """
    found = []
    for kind in (nir.Input, nir.Output):
        names = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
        if len(names) != 1:
            raise ExportError(f"{where}the graph has {len(names)} {kind.__name__} nodes; use one")
        found += names
    return found[0], found[1]
