"""Headers that make no sense, and parts of tracing that fail: no call and no job is affected."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler, SamplingResult

from aiotask import App, Call, JobContext, Middleware, current_job
from aiotask.contrib.otel import Tracing
from aiotask.job import WIRE_VERSION, Job, More

from .spans import Memory, named

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Headers(Middleware):
    """Sets these headers, whatever others have set."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    @contextmanager
    def send(self, call: Call, /) -> Iterator[None]:
        call.headers = dict(self._headers)
        yield


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": ""},
        {"traceparent": "\x00\ud7ff ‮ <script>"},
        {"traceparent": GOOD[:-1]},
        {"traceparent": GOOD.upper()},
        {"traceparent": GOOD + "-more"},
        {"traceparent": "ff" + GOOD[2:]},
        {"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01"},
        {"traceparent": "0" * 8_000},
        {"traceparent": GOOD, "tracestate": "=" * 8_000},
        {"tracestate": "shop=1"},
    ],
    ids=lambda headers: repr(headers)[:40],
)
async def test_a_header_that_is_no_context_is_ignored(app_name: str, headers: dict[str, str]) -> None:
    memory = Memory()
    tracing = Tracing(tracer_provider=memory.provider)
    # The inner one has the last word on its way out.
    app = App(app_name, url="memory://", middleware=[tracing, Headers(headers)])

    @app.task(name="t:one")
    def one() -> dict[str, str]:
        return dict(current_job().headers)

    async with app, app.worker():
        assert await one.apply_async().wait(30) == headers

    (process,) = named(memory.rows, "process t:one")
    assert (process["parent"], process["links"]) == (None, [])
    assert process["attributes"]["aiotask.outcome"] == "SUCCESS"


async def test_a_broken_tracestate_alone_leaves_the_parent(app_name: str) -> None:
    memory = Memory()
    headers = {"traceparent": GOOD, "tracestate": "\x01,,=,shop=1,shop=2"}
    app = App(app_name, url="memory://", middleware=[Tracing(tracer_provider=memory.provider), Headers(headers)])

    @app.task(name="t:one")
    def one() -> int:
        return 1

    async with app, app.worker():
        assert await one.apply_async().wait(30) == 1

    (process,) = named(memory.rows, "process t:one")
    assert process["parent"] == 0xB7AD6B7169203331


@pytest.mark.parametrize("value", [7, None, b"00-", ["00"], {}])
def test_a_header_of_another_type_is_ignored(value: Any) -> None:
    memory = Memory()
    tracing = Tracing(tracer_provider=memory.provider)
    job = JobContext(Job(WIRE_VERSION, "a", "t:one", "default", b"", more=More(headers={"traceparent": value})))

    with tracing.execute(job):
        pass
    tracing.on_run_end(job, "SUCCESS", None)

    (process,) = memory.rows
    assert process["parent"] is None


# ---- parts of the SDK, which may be the user's


class BadStart(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("no start")


class BadEnd(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("no end")


class BadSampler(Sampler):
    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        raise RuntimeError("no sample")

    def get_description(self) -> str:
        return "bad"


class BadExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("no export")


def providers() -> dict[str, TracerProvider]:
    made = {name: TracerProvider(shutdown_on_exit=False) for name in ("start", "end", "export")}
    made["start"].add_span_processor(BadStart())
    made["end"].add_span_processor(BadEnd())
    made["export"].add_span_processor(SimpleSpanProcessor(BadExporter()))
    return {**made, "sampler": TracerProvider(BadSampler(), shutdown_on_exit=False)}


@pytest.mark.parametrize("fault", ["start", "end", "export", "sampler"])
async def test_a_part_that_fails_is_in_the_log_and_calls_and_jobs_go_on(
    app_name: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracing = Tracing(tracer_provider=providers()[fault])
    app = App(app_name, url="memory://", middleware=[tracing])

    @app.task(name="t:one")
    def one() -> int:
        return 1

    @app.task(name="t:two")
    async def two() -> int:
        return await one.apply_async() + 1

    @app.task(name="t:fails")
    def fails() -> None:
        raise LookupError("the task's own")

    with caplog.at_level(logging.ERROR):
        async with app, app.worker():
            assert await two.apply_async().wait(30) == 2
            with pytest.raises(LookupError, match="the task's own"):
                await fails.apply_async().wait(30)

    assert f"no {'sample' if fault == 'sampler' else fault}" in caplog.text
    assert not tracing._runs


async def test_a_trace_that_is_not_sampled_is_not_sampled_in_the_worker(app_name: str, redis_url: str) -> None:
    sender, worker = Memory(), Memory()
    sender.provider.sampler = ALWAYS_OFF
    client = App(app_name, url=redis_url, middleware=[Tracing(tracer_provider=sender.provider)])
    app = App(app_name, url=redis_url, middleware=[Tracing(tracer_provider=worker.provider)])

    @app.task(name="t:one")
    def one() -> str:
        return current_job().headers["traceparent"]

    async with client, app, app.worker():
        header = await client.s("t:one").apply_async().wait(30)

    assert int(header[-2:], 16) & 1 == 0
    assert not sender.rows and not worker.rows


async def test_an_error_that_cannot_be_shown_is_recorded_all_the_same(app_name: str) -> None:
    memory = Memory()
    app = App(app_name, url="memory://", middleware=[Tracing(tracer_provider=memory.provider)])

    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @app.task(name="t:one")
    def one() -> None:
        raise Hostile

    async with app, app.worker():
        with pytest.raises(Exception):  # noqa: B017 - of any class: it cannot be loaded as it was
            await one.apply_async().wait(30)

    (process,) = named(memory.rows, "process t:one")
    assert process["status"] == "ERROR"
    assert process["attributes"]["error.type"].endswith("Hostile")
    assert "RuntimeError" in process["events"][0][1]["exception.message"]


async def test_the_context_is_the_only_header(app_name: str) -> None:
    memory = Memory()
    app = App(app_name, url="memory://", middleware=[Tracing(tracer_provider=memory.provider)])

    @app.task(name="t:one")
    def one() -> dict[str, str]:
        return dict(current_job().headers)

    async with app, app.worker():
        headers = await one.apply_async().wait(30)

    assert set(headers) == {"traceparent"}
    assert len(headers["traceparent"]) == 55
