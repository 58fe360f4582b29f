"""Asking a service that keeps failing less often, and noticing when it is back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from backend.core.errors import DependencyDown, DependencyError, RagError


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """``failures`` in a row open the breaker for ``pause_s``; each probe that fails doubles
    the pause, up to ``longest_pause_s``."""

    failures: int = 5
    pause_s: float = 5.0
    longest_pause_s: float = 30.0


class Breaker:
    """Closed: calls pass. Open: they fail at once. After the pause one probe at a time passes,
    and its fate decides.

    ``is_failure`` tells an error of the service from one of the request, which shows that the
    service works. Cancelled calls and errors of our own show nothing.

    What comes of a call that began before the breaker last changed its mind is not counted: of
    twenty calls that fail together, five open it and fifteen would make the pause longer.
    """

    def __init__(
        self,
        policy: BreakerPolicy,
        is_failure: Callable[[DependencyError], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._is_failure = is_failure
        self._clock = clock
        self._era = 0
        self._failures = 0
        self._pause_s = policy.pause_s
        self._open_until = 0.0
        self._last: DependencyError | None = None  # the failure that keeps it open
        self._probing = False

    @property
    def is_open(self) -> bool:
        return self._last is not None

    def close(self) -> None:
        """The service was seen to work."""
        self._failures = 0
        if self.is_open:
            self._last, self._pause_s = None, self._policy.pause_s
            self._turn()

    @contextmanager
    def call(self) -> Iterator[Callable[[], None]]:
        """Gives what to call when the service begins to answer: for a probe that is enough,
        others need not wait until a long answer is finished.

        Raises:
            DependencyDown: the service is not asked for now.
        """
        era = self._admitted()
        try:
            yield partial(self._begun, era)
        except DependencyError as error:
            if self._is_failure(error):
                self._failed(era, error)
            else:
                self._answered(era)
            raise
        except RagError:
            self._answered(era)
            raise
        except BaseException:
            self._unknown(era)
            raise
        else:
            self._answered(era)

    def _admitted(self) -> int:
        if self._last is not None:
            left_s = self._open_until - self._clock()
            if left_s > 0 or self._probing:
                raise self._down(self._last, max(1, math.ceil(left_s)))
            self._turn(probing=True)
        return self._era

    def _begun(self, era: int) -> None:
        if era == self._era and self._probing:
            self.close()

    def _answered(self, era: int) -> None:
        if era == self._era:
            self.close()

    def _unknown(self, era: int) -> None:
        if era == self._era:
            self._probing = False

    def _failed(self, era: int, error: DependencyError) -> None:
        if era != self._era:
            return
        self._failures += 1
        if self._probing:
            self._pause_s = min(2 * self._pause_s, self._policy.longest_pause_s)
        if self._probing or self._failures >= self._policy.failures:
            self._last = error
            self._open_until = self._clock() + self._pause_s
            self._turn()

    def _turn(self, *, probing: bool = False) -> None:
        self._era += 1
        self._probing = probing

    def _down(self, last: DependencyError, retry_after_s: int) -> DependencyDown:
        return DependencyDown(
            f"{last.dependency} failed {self._failures} times in a row and is asked again in "
            f"{retry_after_s} s. It last failed so: {last}",
            dependency=last.dependency,
            retry_after_s=retry_after_s,
        )
