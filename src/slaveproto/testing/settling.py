"""The common part of the drivers of sessions: requests can be held back, and everything that follows is carried out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from slaveproto.effects import Request


class Settling(ABC):
    """A driver that carries requests, reports and data to and fro until nothing moves any more."""

    def __init__(self) -> None:
        self.now = 0.0
        self.requests: list[Request] = []
        """Everything that the session asked for."""
        self.holds: Callable[[Request], bool] = lambda request: False
        """The choice of requests that go to `held` instead of being performed."""
        self.held: list[Request] = []
        self._settling = False

    def perform_held(self) -> None:
        """Perform the requests that were held back, and hold none from now on."""
        self.holds = lambda request: False
        held, self.held = self.held, []
        for request in held:
            self._perform(request)
        self.settle()

    def settle(self) -> None:
        """Carry data and reports to and fro until nothing moves any more."""
        if self._settling:
            return
        self._settling = True
        try:
            while self._pump():
                pass
        finally:
            self._settling = False

    def _start(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self.requests.append(request)
            if self.holds(request):
                self.held.append(request)
            else:
                self._perform(request)

    @abstractmethod
    def _pump(self) -> bool:
        """Move one thing; return whether there was any."""

    @abstractmethod
    def _perform(self, request: Request) -> None:
        """Perform a request of the session."""
