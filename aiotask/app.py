"""An app: a registry of tasks, one broker, one serializer, settings."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, Self, cast

import msgspec

from .broker import Push
from .brokers.address import Address
from .by_name import function_of
from .client.backpressure import queue_limits
from .context import JobContext, entered, sending_job
from .defining import define
from .errors import ConfigError, Unresolved
from .functions.hints import APP_ELSEWHERE, explain_absence, refuse_boxed, wrong_arguments
from .functions.modules import import_included
from .job import WIRE_VERSION, Job, More, encode_job, ids, keyed_id
from .loops.async_block import async_block
from .loops.exits import apart
from .options import check_name, meant, more_of, seconds
from .registering import Registering
from .result import AsyncResult
from .settings import check_modules, environment, number
from .signature import Signature
from .tasks import AsyncTask, Definition, Registry, SyncTask, apps_here, call_of, task_of
from .wire.seal import Sealer
from .wire.serializer import Serializer, check_serializer, serializer_named
from .wire.unserializable import blame_argument
from .workflow.sending import Composing

if TYPE_CHECKING:
    from .client.client import Client
    from .client.session import Session
    from .inloop.worker import InLoopWorker
    from .inspector import Inspector
    from .outcome import Outcome

__all__ = ["App", "default_app", "register_task", "task"]

_OPTIONS = ("name", "url", "secret", "serializer", "result_ttl", "include", "max_pending", "when_full")


class App(Composing, Registering):
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
        when_full: what sending to a full queue does: ``reject`` (the job fails with QueueFull), ``wait`` (until there
            is room) or ``drop_oldest``. Default: ``$AIOTASK_WHEN_FULL``, else ``reject``.

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
        **unknown: Never,
    ) -> None:
        for option in unknown:
            raise ConfigError(f'App has no option "{option}". {meant(option, _OPTIONS)}')
        self.name = check_name(name, "an app")
        self.registry = Registry()
        self.include = check_modules(include)
        self.address = Address(url, secret)
        self._serializer_name = check_serializer(serializer or environment("SERIALIZER") or "cloudpickle")
        self.result_ttl = seconds(number(result_ttl, "RESULT_TTL", 3600.0), "result_ttl")
        self._limits = queue_limits(max_pending, when_full)
        self._lock = threading.RLock()  # re-entrant: a finalizer may send while this thread makes the client
        self._client: Client | None = None
        self._jobs_sealer: Sealer | None = None
        self._serializer: Serializer | None = None
        self._workers_here = 0
        apps_here.add(self)

    # ---- settings and parts

    @property
    def url(self) -> str:
        """The address of the broker, including its password."""
        return self.address.locate()[0]

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

    def _register(self, function: Callable[..., Any], options: Any) -> SyncTask[Any, Any] | AsyncTask[Any, Any]:
        definition = define(function, options)
        if self._serializer_name == "json":
            self.serializer.prepare(definition.name, function)
        self.registry.add(definition)
        return cast("SyncTask[Any, Any] | AsyncTask[Any, Any]", task_of(definition, self))

    # ---- sending

    def send(
        self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any], call: Signature[Any] | None = None
    ) -> AsyncResult[Any]:
        """Encode a call and hand its job over for sending, for ``Task.apply_async``.

        Args:
            call: the signature of the call; None: it has none.
        """
        try:
            task.check(*args, **kwargs)
        except TypeError as error:
            raise wrong_arguments(task.name, args, kwargs, error) from None
        if len(args) == 1 and type(args[0]) is tuple and not kwargs:
            refuse_boxed(task.name, task.function, args[0])
        if task.homeless and not self._workers_here:
            self.refuse_homeless(task)
        return self._send(task, args, kwargs, call, task.function)

    def send_signed(self, task: Definition, call: Signature[Any]) -> AsyncResult[Any]:
        """Send a signature, and what it depends on, for ``Signature.apply_async``."""
        if call._follow_ups:
            return self.send_graph(call)
        if function_of(task) is None:
            return self._send(task, call.args, call.kwargs, call, None)
        return self.send(task, call.args, call.kwargs, call)

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
    ) -> AsyncResult[Any]:
        serializer = self._serializer or self.serializer
        try:
            body = serializer.dump_call((args, kwargs), function)
        except Unresolved:
            body = b""
        except Exception as error:
            raise blame_argument(serializer, task.name, (args, kwargs), function, error) from error
        if not body:  # not in the handler: what is wrong with the graph is an error of its own
            return self.send_graph(call or self.sign(task, args, kwargs))
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
            id = keyed_id(task.name, task.key)
        # Two tests, since the first one is cheap and fails outside a job, where most jobs are sent.
        elif (here := entered.get()).calls is not None and here.is_sending:
            parent = here
            id, shared = parent.child_id(call_of(task, self.name), body), parent.may_repeat
        else:
            id, custom, shared = ids.next(), False, False
        explicit = task.explicit
        now = time.time()
        version, more = more_of(task.more, now) if task.more else _PLAIN
        if parent is not None:
            more = _child(client, session, parent, id, more)
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
        result: AsyncResult[Any] = AsyncResult(id, client, task.name, function, task.queue)
        result.shared = shared
        result.ignored = task.ignore_result
        client.submit(session, Push(id, task.queue, task.priority, sealed, task.delay, task.eta, custom), result)
        return result

    def handle(self, id: str, task: Definition | None) -> AsyncResult[Any]:
        """A handle on the job with this id, for ``Task.result``; ``task`` is None if it is not known."""
        if not isinstance(id, str) or not id:
            raise ConfigError(f"{id!r} is not a job ID. Give the text of `result.id`.")
        return AsyncResult(
            id, self.client, task=task.name if task else "", function=task.function if task is not None else None
        )

    def result(self, id: str) -> AsyncResult[Any]:
        """A handle on the job with this id, whichever process sent it.

        Raises:
            ConfigError: the id is empty or not text.
        """
        return self.handle(id, None)

    def decode_outcome(self, outcome: Outcome) -> Any:
        """The value of an outcome whose seal was checked, or its error, raised."""
        task = self.registry.get(outcome.task)
        return self.client.reveal(outcome, task.function if task else None)

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

    @async_block
    async def inspector(self) -> AsyncIterator[Inspector]:
        """An ``async with`` block with an Inspector, which reads queues, jobs and workers without changing them."""
        from .brokers import connect, inspect

        broker = connect(self.url, self.name)
        try:
            await broker.open()
            yield inspect(broker)
        finally:
            await broker.close()

    @async_block
    async def worker(
        self,
        *,
        concurrency: int = 1,
        queues: Iterable[str] = (),
        max_in_flight: int = 100,
        result_db: str | Path | None = None,
        burst: bool = False,
    ) -> AsyncIterator[InLoopWorker]:
        """An ``async with`` block that runs a worker in the current event loop: for tests, notebooks and ``memory://``.

        The worker first imports the modules of ``include``; a thread of its own keeps its lease alive.

        Args:
            concurrency: number of sync jobs that run at a time, each in a thread. A thread cannot be interrupted, so
                the time limit of a sync job is checked when its function returns.
            queues: names of the queues to consume. Default: every queue that a task names, and ``default``.
            max_in_flight: number of async jobs that run at a time.
            result_db: path of the history file. Default: finished jobs are not recorded.
            burst: run until the queues are empty, then stop; ``await worker.finished()`` waits for that.

        Raises:
            ConfigError: a queue name is not valid, or the broker keeps no history for ``result_db``.
            ImportFailed: a module of ``include`` cannot be imported.
        """
        from .brokers import require
        from .brokers.technology import HISTORY
        from .history.recorder import Recorder
        from .inloop.worker import in_loop_worker

        import_included(self.include)
        url, secrets = self.address.locate()
        if result_db is not None:
            require(url, HISTORY, "result_db")
        self._workers_here += 1
        try:
            async with in_loop_worker(
                registry=self.registry,
                url=url,
                name=self.name,
                secrets=secrets,
                serializer=self.serializer,
                queues=[check_name(queue, "a queue") for queue in queues] or self.registry.queues,
                concurrency=concurrency,
                max_in_flight=max_in_flight,
                recorder=lambda path: Recorder(path, secrets, self.name),
                result_db=Path(result_db) if result_db is not None else None,
                burst=burst,
            ) as worker:
                yield worker
        finally:
            self._workers_here -= 1

    def __repr__(self) -> str:
        return f"<App {self.name}: {len(self.registry)} tasks>"


explain_absence(App, APP_ELSEWHERE)


#: Version of the envelope and ``Job.more`` of a job without further options.
_PLAIN: tuple[int, More | None] = (WIRE_VERSION, None)


def _child(client: Client, session: Session, parent: JobContext, id: str, more: More | None) -> More:
    """``Job.more`` of a job that a job sends, which is listed among the children of that one."""
    client.list_child(session, parent, id)
    return msgspec.structs.replace(more or More(), parent=parent.id)


#: The one app at module level; ``aiotask.task`` registers here. Configured by the environment.
default_app = App(check_name(environment("NAME") or "default", "an app (AIOTASK_NAME)"))
task = default_app.task
register_task = default_app.register_task
