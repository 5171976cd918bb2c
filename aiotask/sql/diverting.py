"""The blocks of ``in_transaction`` that are open in this process, and the clients that look for them at every send."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from ..client.client import Client
from ..client.staging import GraphPush
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..broker import Push
    from ..client.session import Session
    from ..context import JobContext
    from ..results.result import AsyncResult

__all__ = ["Scope"]

#: Takes a job that is sent in a block.
Collect = Callable[["Session", "Push", "AsyncResult[Any]"], None]


class Scope:
    """One block, in the contexts that know it: those of the code in it, and of asyncio tasks that were started there.

    Args:
        collect: called with each job that the client sends in these contexts.
    """

    def __init__(self, client: Client, collect: Collect) -> None:
        self.client = client
        self.collect = collect
        self.is_over = False
        self.outer = _here.get()
        self._token: Token[Scope | None] | None = None

    def open(self) -> None:
        """Begin to collect jobs in this context."""
        with _lock:
            _scopes.add(self)
            self.client.__class__ = Diverting
        self._token = _here.set(self)

    def close(self) -> None:
        """End that, and have sends refused in tasks that were started in the block and go on."""
        self.is_over = True
        token, self._token = self._token, None
        if token is not None:
            try:
                _here.reset(token)
            except ValueError:
                # The block was entered in another context, as in a fixture of a test.
                _here.set(self.outer)


_here: ContextVar[Scope | None] = ContextVar("aiotask_transaction", default=None)
#: The scopes that some context may still know.
_scopes: weakref.WeakSet[Scope] = weakref.WeakSet()
_lock = threading.RLock()


class Diverting(Client):
    """A client while blocks of ``in_transaction`` are open in its process, or asyncio tasks that such a block has left.

    Its class is changed back and forth, so that a plain send does not look for blocks in a process that has none.
    """

    def submit(self, session: Session, push: Push, result: AsyncResult[Any]) -> None:
        scope = self._scope()
        if scope is not None:
            scope.collect(session, push, result)
            return
        super().submit(session, push, result)
        _change_back(self)

    def submit_graph(
        self, session: Session, push: GraphPush, result: AsyncResult[Any], handles: Sequence[AsyncResult[Any]]
    ) -> None:
        if self._scope() is not None:
            raise ConfigError(
                "A graph or a group cannot be sent in a transaction: a row of the outbox is one job. Send a task in it "
                "that sends the graph."
            )
        super().submit_graph(session, push, result, handles)

    def list_child(self, session: Session, parent: JobContext, id: str) -> None:
        # Whether a job of a transaction is sent at all is known later.
        if self._scope() is None:
            super().list_child(session, parent, id)

    def _scope(self) -> Scope | None:
        """The innermost block of this client that this context is in."""
        scope = _here.get()
        while scope is not None and scope.client is not self:
            scope = scope.outer
        if scope is not None and scope.is_over:
            raise ConfigError(
                "This task was started in a block of in_transaction, which has ended. Wait for it in the block, or "
                "start it outside."
            )
        return scope


def _change_back(client: Client) -> None:
    """Let a client send as before, once no context can know a block of it any more."""
    with _lock:
        if not any(scope.client is client for scope in _scopes):
            client.__class__ = Client
