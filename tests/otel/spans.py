"""Spans as tests look at them: of this process from memory, of worker processes from a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ..helpers import wait_until_async

__all__ = ["FileExporter", "Memory", "ended", "in_file", "named", "row_of", "tree_of"]

Row = dict[str, Any]


def row_of(span: ReadableSpan) -> Row:
    """A span as plain data."""
    assert span.start_time is not None and span.end_time is not None
    return {
        "pid": os.getpid(),
        "name": span.name,
        "kind": span.kind.name,
        "trace": span.context.trace_id,
        "id": span.context.span_id,
        "parent": span.parent.span_id if span.parent is not None else None,
        "links": [[link.context.span_id, dict(link.attributes or {})] for link in span.links],
        "attributes": dict(span.attributes or {}),
        "status": span.status.status_code.name,
        "description": span.status.description,
        "events": [[event.name, dict(event.attributes or {})] for event in span.events],
        "seconds": (span.end_time - span.start_time) / 1e9,
    }


class FileExporter(SpanExporter):
    """Appends each span to a file as a line; one write for each export, so that processes do not mix their lines."""

    def __init__(self, path: str) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(json.dumps(row_of(span)) + "\n" for span in spans)
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, lines.encode())
        finally:
            os.close(file)
        return SpanExportResult.SUCCESS


def in_file(path: Path) -> list[Row]:
    """What processes have exported there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Memory:
    """A TracerProvider that keeps its spans in this process."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("tests")

    @property
    def rows(self) -> list[Row]:
        return [row_of(span) for span in self._exporter.get_finished_spans()]


def named(rows: Iterable[Row], name: str) -> list[Row]:
    """The spans with this name, in the order of their export."""
    return [row for row in rows if row["name"] == name]


def tree_of(rows: Sequence[Row]) -> list[Any]:
    """The names of spans of one trace as a tree: ``[name, child, child, …]``, children by their names."""
    assert len({row["trace"] for row in rows}) == 1, "these are several traces"
    ids = {row["id"] for row in rows}
    assert len(ids) == len(rows)
    (root,) = [row for row in rows if row["parent"] not in ids]
    return _below(root, rows)


def _below(row: Row, rows: Sequence[Row]) -> list[Any]:
    return [row["name"], *sorted(_below(each, rows) for each in rows if each["parent"] == row["id"])]


async def ended(memory: Memory, name: str, count: int = 1) -> list[Row]:
    """The spans with this name, once there are so many: the last one ends a moment after its caller knows the value."""
    await wait_until_async(
        lambda: len(named(memory.rows, name)) >= count, description=f"{count} spans {name!r} have ended"
    )
    return named(memory.rows, name)
