"""An app: a registry of tasks, one broker, one serializer, settings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, Self

from .broker import Push
from .brokers import require, require_limits
from .brokers.address import Address
from .brokers.sql.address import DatabaseAddress
from .brokers.technology import UNIQUE
from .client.backpressure import queue_limits
from .client.specials import more_for, special_for
from .context import JobContext, entered, sending_job
from .depends import Overrides, Overriding, injection_of, lifespan_of
from .errors import ConfigError, Unresolved
from .functions.hints import APP_ELSEWHERE, explain_absence, refuse_boxed, wrong_arguments
from .job import RESULT_TTL, WIRE_VERSION, Job, More, encode_job, ids
from .loops.exits import apart
from .middleware import Call, Middleware, depart, hooks_of, outermost, traced
from .parts.hiding import Hiding, words_hidden
from .parts.pausing import Pausing
from .parts.registering import Registering
from .parts.scheduling import Scheduling, taken_apart
from .parts.serving import Serving
from .parts.storing import Storing
from .parts.streaming import Streaming
from .results.result import AsyncResult
from .settings import check_modules, environment, number
from .signature import Signature
from .tasks.by_name import function_of
from .tasks.defining import call_of, define, keyed_call, surrounded
from .tasks.limits import limit_text
from .tasks.options import check_name, meant, more_of, seconds
from .tasks.task import Definition, Registry, Task, apps_here, task_of
from .values.unique import rule_of
from .wire.seal import Sealer
from .wire.serializer import Serializer, check_serializer, serializer_named
from .wire.unserializable import blame_argument
from .workflow.sending import Composing

if TYPE_CHECKING:
    from .client.client import Client
    from .outcome import Outcome

__all__ = ["App", "default_app", "register_task", "task"]

_OPTIONS = [
    *("name", "url", "secret", "serializer", "result_ttl", "include", "max_pending", "when_full"),
    *("middleware", "lifespan", "database", "hide"),
]


class App(Composing, Hiding, Pausing, Registering, Scheduling, Serving, Storing, Streaming, Overriding):
    """A registry of tasks, and the broker that their jobs go through.

    Creating an app connects to nothing: the broker is first contacted when a job is sent.

    Args:
        name: the app's namespace for keys on the server; 1 to 100 of the characters ``A-Z a-z 0-9 _ . -``.
        url: address of the broker: ``redis://user:password@host:6379/0``, ``rediss://…``, ``unix:///path`` or
            ``memory://``. Default: ``$AIOTASK_URL``, else the embedded server.
        secret: the key with which jobs and outcomes are sealed. Default: ``$AIOTASK_SECRET``.
            To rotate it: ``old,new`` everywhere, then ``new,old``, then ``new``.
        serializer: ``cloudpickle`` or ``json``. Default: ``$AIOTASK_SERIALIZER``, else ``cloudpickle``.
        result_ttl: seconds that the broker keeps an outcome. Default: ``$AIOTASK_RESULT_TTL``, else 3600.
        include: names of modules that a worker imports besides the one that holds the app.
        max_pending: how many jobs may wait in a queue: one number for every queue, or one for each (``""``: all
            others), as in ``{"mail": 10_000}``. Default: ``$AIOTASK_MAX_PENDING`` (``10000`` or
            ``mail=10000,=500``), else no limit.
        middleware: code around every call and job, the outermost first (see Middleware).
        lifespan: providers that each worker process opens once, before its first job, and closes after its last one
            (see Depends).
        database: where the rows that are jobs lie (``@app.row``), and jobs that wait for a transaction to commit: a URL
            of SQLite or PostgreSQL, an Engine of SQLAlchemy, a function that returns one, or the name of either as
            ``module:attribute``. Default: ``$AIOTASK_DATABASE``, else none.
        when_full: what sending to a full queue does: ``reject`` (the job fails with QueueFull), ``wait`` (until there
            is room) or ``drop_oldest``. Default: ``$AIOTASK_WHEN_FULL``, else ``reject``.
        hide: parts of names of arguments that tools and logs show as dots, besides those in ``$AIOTASK_HIDE`` and
            ``password``, ``secret``, ``token`` and the like.

    Raises:
        ConfigError: an argument is wrong.
    """

    #: What to do instead of serializing an App, for the error.
    INSTEAD = "Import it in the module of the task"

    def __init__(
        self,
        name: str = "default",
        *,
        url: str | None = None,
        secret: str | None = None,
        serializer: str | None = None,
        result_ttl: float | None = None,
        include: Iterable[str] = (),
        max_pending: int | Mapping[str, int] | None = None,
        when_full: str | None = None,
        middleware: Sequence[Middleware] = (),
        lifespan: Sequence[Callable[[], AbstractAsyncContextManager[Any]]] = (),
        database: object = None,
        hide: str | Iterable[str] = (),
        **unknown: Never,
    ) -> None:
        for option in unknown:
            raise ConfigError(f'App has no option "{option}". {meant(option, _OPTIONS)}')
        self.name = check_name(name, "an app")
        self.registry = Registry()
        self.include = check_modules(include)
        self.address = Address(url, secret)
        self.database = DatabaseAddress(database)
        self.hide = words_hidden(hide)
        self._serializer_name = check_serializer(serializer or environment("SERIALIZER") or "cloudpickle")
        self.result_ttl = seconds(number(result_ttl, "RESULT_TTL", RESULT_TTL), "result_ttl")
        self._limits = queue_limits(max_pending, when_full)
        self.hooks = hooks_of(traced(middleware), self)
        self._send_hooks = self.hooks.send
        self.overrides = Overrides()
        self.lifespan = lifespan_of(lifespan, self.overrides)
        self._lock = threading.RLock()  # re-entrant: a finalizer may send while this thread makes the client
        self._client: Client | None = None
        self._jobs_sealer: Sealer | None = None
        self._serializer: Serializer | None = None
        apps_here.add(self)

    # ---- settings and parts

    @property
    def broker_url(self) -> str:
        """The address of the broker with its password masked, for logs and messages."""
        return self.address.shown

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.address.locate()[1]

    @property
    def embedded(self) -> bool:
        """Whether the broker is the embedded server."""
        return self.address.embedded

    @property
    def jobs_sealer(self) -> Sealer:
        """The sealer of envelopes."""
        if self._jobs_sealer is None:
            apart(self._make_client)
        assert self._jobs_sealer is not None
        return self._jobs_sealer

    @property
    def serializer(self) -> Serializer:
        if self._serializer is None:
            self._serializer = apart(lambda: serializer_named(self._serializer_name))
        return self._serializer

    @property
    def client(self) -> Client:
        """The sending side of the app, made at first use."""
        return self._client or apart(self._make_client)

    def _make_client(self) -> Client:
        from .client.client import client_at

        with self._lock:
            if self._client is None:
                self._jobs_sealer = Sealer(self.secrets, "job")
                made = client_at(self.address.locate(), self.name, self.serializer, self.result_ttl, self._limits)
                self._client = self._client or made
            return self._client

    def result_db_path(self) -> Path | None:
        """The history file of this app's workers: ``$AIOTASK_RESULT_DB``, else beside the embedded server's data."""
        return self.address.result_db_path()

    def _register(self, function: Callable[..., Any], options: Any) -> Task[..., Any]:
        options, spec = taken_apart(options, getattr(function, "__qualname__", str(function)))
        definition = define(function, options, typed=self._serializer_name == "json")
        if rule_of(definition.more) is not None and (url := self.address.given):
            require(url, UNIQUE, "unique= or on_conflict=")
        injection = injection_of(function, definition.name, self.overrides)
        definition = surrounded(definition, self.hooks, injection)
        if "limit" in definition.more:
            require_limits(definition.name, self.address.given)
        if self._serializer_name == "json":
            self.serializer.prepare(definition.name, definition.function)
        self._schedule(definition, spec)
        self.registry.add(definition)
        return task_of(definition, self)

    def add_middleware(self, middleware: Middleware) -> None:
        """Put a middleware around all others, also around tasks and rows that are registered already.

        It is for integrations, which call it before the app sends, and before a worker serves it.
        """
        self.hooks = outermost(hooks_of([middleware], self), self.hooks)
        self._send_hooks = self.hooks.send
        self.registry.replace(lambda task: surrounded(task, self.hooks))
        if self.rows is not None:
            self.rows.surround(self.hooks)

    # ---- sending

    def send(
        self,
        task: Definition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: Signature[Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> AsyncResult[Any]:
        """Encode a call and hand its job over for sending, for ``Task.apply_async``.

        Args:
            call: the signature of the call; None: it has none.
            headers: what the middleware attached; None: the call has not passed it.
        """
        if self._send_hooks and headers is None:
            on, leaving = partial(self.send, task), Call(task.name, task.queue, args, kwargs)
            return depart(self._send_hooks, leaving, lambda args, kwargs, h: on(args, kwargs, call, h))
        try:
            task.check(*args, **kwargs)
        except TypeError as error:
            raise wrong_arguments(task.name, args, kwargs, error) from None
        if len(args) == 1 and type(args[0]) is tuple and not kwargs:
            refuse_boxed(task.name, task.function, args[0])
        if task.homeless and not self._workers_here:
            self.refuse_homeless(task)
        return self._send(task, args, kwargs, call, task.function, headers)

    def send_signed(self, task: Definition, call: Signature[Any]) -> AsyncResult[Any]:
        """Send a signature, and what it depends on, for ``Signature.apply_async``."""
        if call._follow_ups:
            return self.send_graph(call)
        if function_of(task) is not None:
            return self.send(task, call.args, call.kwargs, call)
        if self._send_hooks:
            on, leaving = partial(self._send, task), Call(task.name, task.queue, call.args, call.kwargs)
            return depart(self._send_hooks, leaving, lambda a, k, h: on(a, k, call, None, h))
        return self._send(task, call.args, call.kwargs, call, None)

    def refuse_homeless(self, task: Definition) -> None:
        """Refuse a call of a task that no worker process finds, unless a worker runs in this process."""
        if task.homeless and not self._workers_here:
            raise ConfigError(
                f'Task "{task.name}" {task.homeless} '
                "Move it into a module, or run a worker in this process: `async with app.worker(): …`."
            )

    def _send(
        self,
        task: Definition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: Signature[Any] | None,
        function: Any,
        headers: dict[str, str] | None = None,
    ) -> AsyncResult[Any]:
        serializer = self._serializer or self.serializer
        try:
            body = serializer.dump_call((args, kwargs), function)
        except Unresolved:
            body = b""
        except Exception as error:
            raise blame_argument(serializer, task.name, (args, kwargs), function, error) from error
        if not body:  # not in the handler: what is wrong with the graph is an error of its own
            return self._send_composed(task, args, kwargs, call, headers)
        client = self._client or self.client
        session = client.session()
        ttl = 0.0 if task.ignore_result else self.result_ttl if task.result_ttl is None else task.result_ttl
        # ``custom``: the broker may know the id. ``shared``: another client may have sent the job.
        custom = shared = True
        parent: JobContext | None = None
        if call is not None:
            id = call.id
            custom = shared = not call._fresh
            call._sent, call._fresh = id, False
            parent = sending_job()
        elif task.id is not None:
            id = task.id
        elif task.key is not None:
            task, id, custom, shared, parent = keyed_call(task, args, kwargs, body, self.name)
        # Two tests, since the first one is cheap and fails outside a job, where most jobs are sent.
        elif (here := entered.get()).calls is not None and here.is_sending:
            parent = here
            id, shared = parent.child_id(call_of(task, self.name), body), parent.may_repeat
        else:
            id, custom, shared = ids.next(), False, False
        explicit, now = task.explicit, time.time()
        version, more = (
            more_of(task.more, now, limit_text(task.more, args, kwargs), is_keyed=task.key is not None)
            if task.more
            else _PLAIN
        )
        if parent is not None or headers:
            more = more_for(client, session, parent, id, more, headers)
        job = Job(
            version,
            id,
            task.name,
            task.queue,
            body,
            task.priority,
            now,
            "" if task.ignore_result else session.address,
            task.retries if explicit and "retries" in explicit else None,
            (task.timeout or 0.0) if explicit and "timeout" in explicit else None,
            ttl,
            now + task.delay if task.eta is None else max(now, task.eta),
            more,
        )
        assert self._jobs_sealer is not None
        sealed = self._jobs_sealer.seal(encode_job(job))
        result: AsyncResult[Any] = (AsyncResult if task.stream is None else task.stream.HANDLE)(
            id, client, task.name, function, task.queue
        )
        result.shared, result.ignored = shared, task.ignore_result
        special = None if more is None else special_for(client, session, task, id, more, ttl)
        push = Push(id, task.queue, task.priority, sealed, task.delay, task.eta, custom, special)
        client.submit(session, push, result)
        return result

    def _send_composed(
        self,
        task: Definition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: Signature[Any] | None,
        headers: dict[str, str] | None,
    ) -> AsyncResult[Any]:
        """Send a call with future values in its arguments."""
        if task.stream is not None:
            task.stream.refuse_graphs(task.name)
        departed: Call | None = None
        if headers is not None:
            departed = Call(task.name, task.queue, args, kwargs)
            departed.headers = headers
        return self.send_graph(call or self._signed(task, args, kwargs), departed)

    def handle(self, id: str, task: Definition | None) -> AsyncResult[Any]:
        """A handle on the job with this id, for ``Task.result``; ``task`` is None if it is not known."""
        if not isinstance(id, str) or not id:
            raise ConfigError(f"{id!r} is not a job ID. Give the text of `result.id`.")
        kind = AsyncResult if task is None or task.stream is None else task.stream.HANDLE
        handle: AsyncResult[Any] = kind(
            id, self.client, task=task.name if task else "", function=task.function if task is not None else None
        )
        return handle

    def result(self, id: str) -> AsyncResult[Any]:
        """A handle on the job with this id, whichever process sent it.

        Raises:
            ConfigError: the id is empty or not text.
        """
        return self.handle(id, None)

    def decode_outcome(self, outcome: Outcome) -> Any:
        """The value of an outcome whose seal was checked, or its error, raised."""
        task = self.registry.get(outcome.task)
        return self.client.reveal(outcome, task.function if task is not None and task.stream is None else None)

    # ---- life

    async def flush(self) -> None:
        """Wait until every job sent so far has been accepted or refused by the broker; refusals are logged or raised
        where the job is awaited."""
        await self.client.flush()

    async def __aenter__(self) -> Self:
        await self.client.session().broker.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()

    def __repr__(self) -> str:
        return f"<App {self.name}: {len(self.registry)} tasks>"


explain_absence(App, APP_ELSEWHERE)


#: Version of the envelope and ``Job.more`` of a job without further options.
_PLAIN: tuple[int, More | None] = (WIRE_VERSION, None)


#: The one app at module level; ``aiotask.task`` registers here. Configured by the environment.
default_app = App(check_name(environment("NAME") or "default", "an app (AIOTASK_NAME)"))
task = default_app.task
register_task = default_app.register_task
