"""What a page holds in memory, and by which way: a heap snapshot of the browser.

Only what can be reached from something that the browser itself holds counts. The browser's own count of objects does
not do: beside them, it spares whatever an address that a call has left behind on the stack happens to point at.
"""

from __future__ import annotations

import json
from collections import deque

from playwright.sync_api import CDPSession

Kind = tuple[str, str]
"""Type and name of an object as a snapshot has them, for example ("native", "AudioBuffer")."""


def held(session: CDPSession, *kinds: Kind) -> dict[Kind, list[str]]:
    """For every object of these kinds that the page holds, the shortest way to it, what holds it first."""
    nodes, edges, strings, about = _snapshot(session)
    fields, node_types, edge_types = about["node_fields"], about["node_types"][0], about["edge_types"][0]
    size, type_at, name_at, count_at = (len(fields), *map(fields.index, ("type", "name", "edge_count")))

    first_edge, edge = [], 0
    for node in range(0, len(nodes), size):
        first_edge.append(edge)
        edge += 3 * nodes[node + count_at]

    came: dict[int, tuple[int, str]] = {0: (0, "")}
    """For each node that was reached, the node before it, and by what it holds it."""
    waiting = deque(came)
    while waiting:
        node = waiting.popleft()
        start = first_edge[node // size]
        for at in range(start, start + 3 * nodes[node + count_at], 3):
            sort, name, to = edge_types[edges[at]], edges[at + 1], edges[at + 2]
            if sort != "weak" and to not in came:
                came[to] = (node, str(name) if sort in ("element", "hidden") else strings[name])
                waiting.append(to)

    found: dict[Kind, list[str]] = {kind: [] for kind in kinds}
    for node in came:
        kind = (node_types[nodes[node + type_at]], strings[nodes[node + name_at]])
        if kind in found:
            way = []
            at = node
            while at:
                before, name = came[at]
                way.append(f"{strings[nodes[before + name_at]][:60]}.{name[:40]}")
                at = before
            found[kind].append(" -> ".join(reversed(way)))
    return found


def _snapshot(session: CDPSession) -> tuple[list[int], list[int], list[str], dict[str, list[list[str]]]]:
    """Nodes, edges (three numbers each), strings, and what the numbers of a node mean."""
    chunks: list[str] = []

    def keep(event: dict[str, str]) -> None:
        chunks.append(event["chunk"])

    session.on("HeapProfiler.addHeapSnapshotChunk", keep)
    session.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
    session.remove_listener("HeapProfiler.addHeapSnapshotChunk", keep)
    heap = json.loads("".join(chunks))
    return heap["nodes"], heap["edges"], heap["strings"], heap["snapshot"]["meta"]
