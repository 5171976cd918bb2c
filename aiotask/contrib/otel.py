"""Traces with OpenTelemetry: a span for each call that is sent, and one for each run of a job.

The spans follow the semantic conventions for messaging, but that they are named after the task and not after the queue.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from ..context import JobContext
from ..errors import ConfigError, Retry
from ..job import Job, Status, ids
from ..log.format import error_type, shortened
from ..log.records import add_trace_fields
from ..log.shown_error import shown_error, without_ours
from ..log.throttle import ErrorReporter
from ..middleware import Call, Middleware, Owner
from ..settings import own_version
from ..wire.error_form import text_of

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ConfigError(
        f"Traces need OpenTelemetry, and its API cannot be imported ({error}). "
        "Install it: pip install 'aiotask[otel]'. Or unset AIOTASK_OTEL."
    ) from error

__all__ = ["Tracing"]

logger = logging.getLogger("aiotask.worker")

#: Characters of a header from which on it is not read.
_MOST = 512
_HEADERS = ("traceparent", "tracestate")
_SYSTEM = {"messaging.system": "aiotask"}
_SEND = {**_SYSTEM, "messaging.operation.type": "send", "messaging.operation.name": "send"}
_PROCESS = {**_SYSTEM, "messaging.operation.type": "process", "messaging.operation.name": "process"}

_w3c = TraceContextTextMapPropagator()
_warned = False


class Tracing(Middleware):
    """Spans around the calls that an app sends, and around the runs of its jobs: ``App(middleware=[Tracing()])``.

    ``send TASK`` is a child of the span that is current where the call is made; its context travels in the headers of
    the job. ``process TASK`` is one run of the job, and current as the run goes on, so that jobs that it sends are its
    children. An error in tracing is logged, and affects no call and no job.

    Args:
        parent: whether runs are children of the span that sent their job. False: each run begins a trace of its own,
            with a link to that span. That of a batch does so in any case.
        tracer_provider: where the spans go. None: to the global TracerProvider, which may be set later.
    """

    def __init__(self, *, parent: bool = True, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._has_parent = parent
        self._provider = tracer_provider
        self._tracer = trace.get_tracer("aiotask", own_version(), tracer_provider)
        self._apps: list[Owner] = []
        #: Of their broker, once a span has asked for them.
        self._attributes: Mapping[str, str | int] | None = None
        #: Runs that have not ended, or of which it is not known how, by the identity of the jobs in them.
        self._runs: dict[int, _Run] = {}
        self._lock = threading.Lock()
        self._report = ErrorReporter(
            logger, "Tracing failed, and a span is missing or incomplete; jobs are not affected: %s"
        )
        add_trace_fields(_trace_fields)

    def attach(self, app: Owner, /) -> None:
        self._apps.append(app)
        self._attributes = None

    def send(self, call: Call, /) -> AbstractContextManager[None]:
        # With its context, all runs of a schedule would belong to the one trace in which the schedule was set.
        return nullcontext() if call.is_scheduled else _Sending(self, call)

    def execute(self, job: JobContext, /) -> AbstractContextManager[None]:
        return _Processing(self, job)

    def on_run_end(self, job: JobContext, status: str, error: Exception | None, /) -> None:
        self.guarded(self._judged, job, status, error)

    def on_exit(self) -> None:
        """Export the spans that are left, and shut the TracerProvider down: the SDK itself would wait for 30 seconds
        when the interpreter exits."""
        with self._lock:
            left = list({id(run): run for run in self._runs.values()}.values())
            self._runs.clear()
        for run in left:
            self.guarded(run.end)
        provider: Any = self._provider or trace.get_tracer_provider()
        shut_down = getattr(provider, "shutdown", None)
        if shut_down is None:
            return
        atexit.unregister(shut_down)
        if (flush := getattr(provider, "force_flush", None)) is not None:
            self.guarded(flush)
        self.guarded(shut_down)

    def guarded(self, step: Callable[..., Any], *args: Any) -> Any:
        """What a step returns; None, which is logged, if it fails: much of it is user code."""
        try:
            return step(*args)
        except Exception as error:
            with suppress(Exception):  # its text is the user's, too
                self._report(error)
            return None

    # ---- spans of calls

    def begin_send(self, call: Call) -> trace.Span:
        """A span for a call that is about to be sent; its context is put into the headers."""
        attributes = {
            **_SEND,
            "messaging.destination.name": call.queue,
            "messaging.client.id": ids.client,
            "aiotask.task": call.task,
            **self._server(),
        }
        creation = _origin(call.headers)
        span = self._tracer.start_span(
            f"send {call.task}",
            kind=trace.SpanKind.PRODUCER,
            attributes=attributes,
            links=[trace.Link(creation)] if creation.is_valid else None,
        )
        if not creation.is_valid:
            # One that middleware has put there on purpose is left alone.
            _w3c.inject(call.headers, trace.set_span_in_context(span))
        return span

    def _server(self) -> Mapping[str, str | int]:
        """Attributes of the broker, where all apps with this middleware have the same one."""
        if self._attributes is None:
            known = {app.broker_url for app in self._apps}
            self._attributes = _server_of(known.pop()) if len(known) == 1 else {}
        return self._attributes

    # ---- spans of runs

    def begin_run(self, job: JobContext) -> _Run:
        """A span for a run that begins, which is from now on the current one."""
        _warn_without_provider(self._provider)
        origins = [(item, _origin(item.headers)) for item in job.items or (job,)]
        context = Context()
        if self._has_parent and not job.items and origins[0][1].is_valid:
            context = trace.set_span_in_context(trace.NonRecordingSpan(origins[0][1]), context)
        span = self._tracer.start_span(
            f"process {job.task}",
            context=context,
            kind=trace.SpanKind.CONSUMER,
            attributes=self._of_run(job),
            links=[_link(item, origin, job) for item, origin in origins if origin.is_valid],
        )
        # Never taken back: the context ends with the run, and what the run returns is sent after ``execute``.
        contexts.attach(trace.set_span_in_context(span, context))
        run = _Run(span, [item.job for item in job.items or (job,)])
        with self._lock:
            self._runs.update((id(each), run) for each in run.jobs)
        return run

    def _of_run(self, job: JobContext) -> dict[str, str | int | float]:
        attributes: dict[str, str | int | float] = {
            **_PROCESS,
            "messaging.destination.name": job.job.queue,
            "messaging.client.id": job.worker,
            "aiotask.task": job.task,
        }
        if job.items:
            attributes["messaging.batch.message_count"] = len(job.items)
        else:
            attributes["messaging.message.id"] = job.id
            attributes["aiotask.attempt"] = job.attempt
            attributes["aiotask.deaths"] = job.deaths
            if job.attempt == 1 and job.job.due_at:
                # By two clocks, if the sender is another machine.
                attributes["aiotask.wait"] = max(time.time() - job.job.due_at, 0.0)
        if not _is_row(job.job):
            attributes.update(self._server())
        return attributes

    def leave_run(self, run: _Run) -> None:
        """The code of the run has ended."""
        with self._lock:
            run.ended_at = time.time_ns()
            is_over = not run.waits_for
            if is_over:
                self._forget(run)
        if is_over:
            run.end()

    def _judged(self, job: JobContext, status: str, error: Exception | None) -> None:
        with self._lock:
            run = self._runs.get(id(job.job))
            is_over = False
            if run is not None:
                run.judged(job, status, error)
                # A run that does not react to a cancel goes on after its job has ended. Of any other one without an
                # end, an interrupt has hit the very step that was to note it.
                goes_on = run.ended_at is None and status == Status.CANCELLED
                is_over = not run.waits_for and not goes_on
                if is_over:
                    self._forget(run)
        if is_over:
            assert run is not None
            run.end()
        elif run is None and error is not None and not job.is_item:
            # The run has failed before it came here: its arguments could not be read, say.
            _end_at_once(self, job, status, error)

    def _forget(self, run: _Run) -> None:
        for each in run.jobs:
            self._runs.pop(id(each), None)


class _Sending(AbstractContextManager[None]):
    """The span around one call on its way out. It is not the current span, since the calls of a graph leave one within
    the other."""

    def __init__(self, tracing: Tracing, call: Call) -> None:
        self._tracing = tracing
        self._call = call
        self._span: trace.Span | None = None

    def __enter__(self) -> None:
        self._span = self._tracing.guarded(self._tracing.begin_send, self._call)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        if self._span is not None:
            self._tracing.guarded(self._end, self._span, error)

    def _end(self, span: trace.Span, error: BaseException | None) -> None:
        try:
            if self._call.id:
                span.set_attribute("messaging.message.id", self._call.id)
            if error is not None:
                _record(span, error, time.time_ns(), {})
        finally:
            span.end()


class _Processing(AbstractContextManager[None]):
    """The span around one run of the function."""

    def __init__(self, tracing: Tracing, job: JobContext) -> None:
        self._tracing = tracing
        self._job = job
        self._run: _Run | None = None

    def __enter__(self) -> None:
        self._run = self._tracing.guarded(self._tracing.begin_run, self._job)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        if self._run is not None:
            self._tracing.guarded(self._tracing.leave_run, self._run)


class _Run:
    """A run, or the call of a batch, from its begin until it is known how its jobs go on.

    Attributes:
        jobs: its jobs, kept since their identities are keys.
        waits_for: identities of those of them of which that is not known.
        ended_at: Unix time in nanoseconds at which its code has ended; None: it goes on.
    """

    def __init__(self, span: trace.Span, jobs: Sequence[Job]) -> None:
        self.span = span
        self.jobs = jobs
        self.waits_for = {id(job) for job in jobs}
        self.ended_at: int | None = None
        self._judgements: list[tuple[JobContext, str, Exception | None]] = []

    def judged(self, job: JobContext, status: str, error: Exception | None) -> None:
        if id(job.job) in self.waits_for:
            self.waits_for.remove(id(job.job))
            self._judgements.append((job, status, error))

    def end(self) -> None:
        at = self.ended_at or time.time_ns()
        try:
            for job, status, error in self._judgements:
                if (failure := _failure(status, error)) is not None:
                    _record(self.span, failure, at, {"messaging.message.id": job.id} if job.is_item else {})
            if len(outcomes := {status for _, status, _ in self._judgements}) == 1:
                self.span.set_attribute("aiotask.outcome", outcomes.pop())
        finally:
            self.span.end(at)


def _end_at_once(tracing: Tracing, job: JobContext, status: str, error: Exception) -> None:
    run = tracing.begin_run(job)
    run.judged(job, status, error)
    tracing.leave_run(run)


# ---- headers


def _origin(headers: Mapping[str, str]) -> trace.SpanContext:
    """The context that travels in these headers; an invalid one, if there is none or it is unreadable."""
    if _HEADERS[0] not in headers:
        return trace.INVALID_SPAN_CONTEXT
    found = {name: headers[name] for name in _HEADERS if name in headers}
    if any(not isinstance(value, str) or len(value) > _MOST for value in found.values()):
        return trace.INVALID_SPAN_CONTEXT
    return trace.get_current_span(_w3c.extract(found, Context())).get_span_context()


def _link(item: JobContext, origin: trace.SpanContext, job: JobContext) -> trace.Link:
    if not job.items:
        return trace.Link(origin)
    return trace.Link(origin, {"messaging.message.id": item.id, "aiotask.attempt": item.attempt})


# ---- attributes


def _server_of(url: str) -> dict[str, str | int]:
    """``server.address`` and ``server.port`` of a broker; a broker in memory has none."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return {"server.address": parts.path}
    if not parts.hostname:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or 6379}


def _is_row(job: Job) -> bool:
    """Whether the job is a row of a database, not of the broker: its body is its id."""
    return job.body == job.id.encode()


def _failure(status: str, error: Exception | None) -> BaseException | None:
    """The error that a span shows for a run; None: the run did what it should."""
    if isinstance(error, Retry):
        return error.__cause__
    return None if status == Status.PENDING else error


def _record(span: trace.Span, error: BaseException, at: int, attributes: Mapping[str, str]) -> None:
    """Make a span one of an error: with an event, which has the traceback as the log shows it, and its status."""
    kind, text = error_type(type(error)), text_of(error)
    event = {**attributes, "exception.type": kind, "exception.message": text}
    try:
        event["exception.stacktrace"] = shortened(shown_error(error, without_ours(error.__traceback__)))
    except Exception as broken:
        event["exception.stacktrace"] = f"(it cannot be shown: {type(broken).__name__})"
    span.add_event("exception", event, at)
    span.set_attribute("error.type", kind)
    span.set_status(trace.Status(trace.StatusCode.ERROR, text))


# ---- logs and faults


def _trace_fields() -> Mapping[str, str]:
    """The fields of log records about the span that is current here."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(here.trace_id), "span_id": trace.format_span_id(here.span_id)}


def _warn_without_provider(given: trace.TracerProvider | None) -> None:
    global _warned
    if given is None and not _warned and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        _warned = True
        logger.warning(
            "Tracing is on, but this process has no TracerProvider, so that its spans go nowhere. Set one where the "
            "app is made (trace.set_tracer_provider(…)), or start the worker with opentelemetry-instrument."
        )
