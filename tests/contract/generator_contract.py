"""What every Generator must do, whatever server is behind it.

A test class of a module inherits it and gives the fixtures ``generator``, which says ``ANSWER``,
and ``window``, the number of tokens the server was started with.
"""

from __future__ import annotations

import pytest

from backend.core.errors import ContextOverflow
from backend.core.ports import Generator
from backend.core.types import Completion, Message, TextDelta
from tests.fakes.openai_wire import ANSWER, drained, told

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


class GeneratorContract:
    @both_ways
    async def test_the_answer_comes_whole_with_its_end_and_its_usage(
        self, generator: Generator, stream: bool
    ) -> None:
        completion = await told(generator, stream=stream)

        assert completion.text == ANSWER
        assert completion.reasoning == ""
        assert completion.finish_reason == "stop"
        assert completion.usage.prompt_tokens > 0
        assert completion.usage.completion_tokens > 0

    async def test_a_stream_is_deltas_and_then_exactly_one_completion(
        self, generator: Generator
    ) -> None:
        *deltas, last = await drained(generator)

        assert isinstance(last, Completion)
        assert len(deltas) > 1
        texts = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
        assert len(texts) == len(deltas)
        assert all(texts)
        assert "".join(texts) == last.text

    @both_ways
    async def test_a_prompt_over_the_window_is_refused_with_both_numbers(
        self, generator: Generator, window: int, stream: bool
    ) -> None:
        overlong = [Message("user", "слово " * (window + 100))]

        with pytest.raises(ContextOverflow) as caught:
            await told(generator, stream=stream, messages=overlong)

        assert caught.value.window_tokens == window
        assert caught.value.needed_tokens > window

    async def test_the_window_is_what_the_server_says(
        self, generator: Generator, window: int
    ) -> None:
        served = await generator.served()

        assert served.context_window == window
        assert served.name
        assert served.origin

    async def test_a_check_is_one_line(self, generator: Generator) -> None:
        line = await generator.check()

        assert line
        assert "\n" not in line
