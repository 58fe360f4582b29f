"""A summary followed to its end, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from cli.failures import ConnectionLost, Patience, TimedOut, Unreachable
from cli.schemas import Summary, SummaryProgress
from cli.summary_client import SummaryClient, SummaryEvent, SummaryWish

BROKEN = (ConnectionLost, TimedOut, Unreachable)
_MOST_IN_VAIN = 6
_LONGEST_PAUSE_S = 15.0

Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")


async def persistently(
    patience: Patience, call: Callable[[], Awaitable[T]], note: Callable[[str], None]
) -> T:
    """``call`` with ``patience``, again where the connection broke, a few times."""
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(BROKEN),
        stop=stop_after_attempt(_MOST_IN_VAIN),
        wait=wait_exponential(multiplier=0.5, max=_LONGEST_PAUSE_S),
        before_sleep=lambda state: note(_why_again(state)),
        sleep=patience.sleep,
        reraise=True,
    )
    return await retrying(patience.with_, call)


class Following:
    """``told`` hears each event, of a stream that was begun anew some of them twice."""

    def __init__(
        self,
        client: SummaryClient,
        wish: SummaryWish,
        *,
        patience: Patience,
        told: Callable[[SummaryEvent], None],
        note: Callable[[str], None],
    ) -> None:
        self._client = client
        self._wish = wish
        self._patience = patience
        self._told = told
        self._note = note
        self._begun = False
        self._after = ""
        self._furthest = (False, 0, 0)
        self._in_vain = 0

    async def summary(self) -> Summary:
        """A connection that breaks is taken up where it was; only breaks in a row, with nothing
        done in between, make it give up.

        Raises:
            ClientError: there is no summary.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: self._begun and isinstance(error, BROKEN)),
            stop=lambda _: self._in_vain >= _MOST_IN_VAIN,
            wait=lambda _: min(_LONGEST_PAUSE_S, 0.5 * 2**self._in_vain),
            before_sleep=self._broken,
            sleep=self._patience.sleep,
            reraise=True,
        )
        # A backend too busy says so before the first event.
        return await retrying(self._patience.with_, self._once)

    async def _once(self) -> Summary:
        events = self._client.summarize_stream(self._wish, after=self._after)
        async with aclosing(events):
            async for told in events:
                self._begun, self._after = True, told.last_id
                if isinstance(told.event, Summary):
                    return told.event
                self._weigh(told.event)
                self._told(told.event)
        raise RuntimeError("a stream ended without its summary")

    def _weigh(self, event: SummaryEvent) -> None:
        if not isinstance(event, SummaryProgress):
            return
        at = (event.stage == "merge", event.level, event.done)
        if at > self._furthest:
            self._furthest, self._in_vain = at, 0

    def _broken(self, state: RetryCallState) -> None:
        self._in_vain += 1
        self._note(_why_again(state))


def _why_again(state: RetryCallState) -> str:
    error = state.outcome.exception() if state.outcome else None
    return f"{error} Trying again in {state.upcoming_sleep:.1f} s."
