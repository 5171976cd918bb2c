"""A trace of OpenTelemetry over three processes: a request, the job that it sends, and the jobs that this one sends.

Run its jobs, with two worker processes::

    aiotask worker examples.tracing --concurrency 2

Then, in the same directory::

    python -m examples.tracing

It prints the trace as a tree. Here the spans go to a file; a real exporter takes the place of ``ToFile``, such as
``OTLPSpanExporter()`` of ``opentelemetry-exporter-otlp-proto-http``.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from aiotask import App, group
from aiotask.contrib.otel import Tracing

FILE = Path(os.environ.get("SPANS", os.path.join(tempfile.gettempdir(), "spans.jsonl")))


class ToFile(SpanExporter):
    """Appends each span to a file, as a line."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = [json.dumps(line_of(span)) + "\n" for span in spans]
        with FILE.open("a") as file:
            file.write("".join(lines))
        return SpanExportResult.SUCCESS


def line_of(span: ReadableSpan) -> list[str]:
    parent = trace.format_span_id(span.parent.span_id) if span.parent is not None else ""
    return [trace.format_trace_id(span.context.trace_id), trace.format_span_id(span.context.span_id), parent, span.name]


provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ToFile(), schedule_delay_millis=100))
trace.set_tracer_provider(provider)

app = App("tracing", middleware=[Tracing()])


@app.task
def price(grams: int) -> float:
    return grams * 0.0125


@app.task
async def order(grams: list[int]) -> float:
    with trace.get_tracer("shop").start_as_current_span("look up the customer"):
        await asyncio.sleep(0.01)
    return sum(await group(price.s(each) for each in grams).apply_async())


def spans_of(trace_id: str) -> list[list[str]]:
    return [line for line in map(json.loads, FILE.read_text().splitlines()) if line[0] == trace_id]


def show(spans: list[list[str]], parent: str = "", indent: str = "") -> None:
    for _, id, _, name in sorted((span for span in spans if span[2] == parent), key=lambda span: span[3]):
        print(indent + name)
        show(spans, id, indent + "  ")


async def request() -> str:
    """The ID of its trace."""
    async with app:
        with trace.get_tracer("shop").start_as_current_span("POST /orders") as span:
            print(f"{await order.apply_async([40, 120]):.2f} euros")
    return trace.format_trace_id(span.get_span_context().trace_id)


def main() -> None:
    trace_id, until = asyncio.run(request()), time.monotonic() + 10
    provider.force_flush()
    # The workers export theirs ten times a second.
    while len(spans_of(trace_id)) < 8 and time.monotonic() < until:
        time.sleep(0.1)
    show(spans_of(trace_id))


if __name__ == "__main__":
    main()
