"""The quality questions on the sample corpus, answered by a real chat model.

    python -m benchmarks.answers [--model NAME | --extractive] [--limit N] [--out FILE]

Prints, by language: how many answerable questions got the expected facts, how many others were
refused, and what became of every marker. A quote that is not found verbatim in the document's
text is counted as an error; there must be none. One question takes half a minute on a laptop core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from backend.settings import Settings
from backend.wiring import open_services
from benchmarks.serving import serving

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "docs" / "samples"
QUESTIONS = ROOT / "tests" / "quality" / "questions.jsonl"


async def _index(client: httpx.AsyncClient) -> None:
    for path in sorted(path for path in SAMPLES.rglob("*") if path.is_file()):
        source = path.relative_to(SAMPLES).as_posix()
        response = await client.post(
            "/ingest",
            files={"file": (path.name, path.read_bytes())},
            data={"space_id": "quality", "source": source},
        )
        response.raise_for_status()


async def _wait_ready(client: httpx.AsyncClient) -> None:
    while (await client.get("/health")).status_code != 200:
        await asyncio.sleep(0.5)


def has_expected(answer: str, expected: list[Any]) -> bool:
    """Each entry is a string, or a list of alternatives, that the answer must contain."""
    plain = answer.casefold().replace("ё", "е").replace("\u00a0", " ")
    return all(
        any(
            option.casefold().replace("ё", "е").replace("\u00a0", " ") in plain
            for option in (entry if isinstance(entry, list) else [entry])
        )
        for entry in expected
    )


async def _wrong_quotes(client: httpx.AsyncClient, body: dict[str, Any]) -> int:
    wrong = 0
    for citation in (*body["citations"], *body["attributed"]):
        if citation["status"] == "unsupported":
            wrong += citation["quote"] != ""
            continue
        text = (await client.get(f"/documents/{citation['doc_id']}/text")).text
        wrong += text[citation["char_start"] : citation["char_end"]] != citation["quote"]
    return wrong


async def _measure(arguments: argparse.Namespace, folder: Path) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=folder,
        llm_mode="none" if arguments.extractive else "llamacpp",
        llm_model=arguments.model,
        ask_context_tokens=arguments.context_tokens,
        llm_max_tokens=256,
    )
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines][:: arguments.every][: arguments.limit]
    tally: Counter[tuple[str, str]] = Counter()
    seconds = 0.0
    async with (
        open_services(settings) as services,
        serving(settings, services) as url,
        httpx.AsyncClient(base_url=url, timeout=1800) as client,
    ):
        await _index(client)
        await _wait_ready(client)
        with arguments.out.open("w", encoding="utf-8") as out:
            for question in questions:
                body = {"q": question["question"], "space_id": "quality"}
                answer = (await client.post("/ask", json=body)).raise_for_status().json()
                wrong = await _wrong_quotes(client, answer)
                _count(tally, question, answer, wrong)
                seconds += answer["timings"]["total"]
                out.write(json.dumps({**question, **answer}, ensure_ascii=False) + "\n")
                out.flush()
    _report(tally, len(questions), seconds)


def _count(
    tally: Counter[tuple[str, str]], question: dict[str, Any], answer: dict[str, Any], wrong: int
) -> None:
    lang = question["lang"]
    if question["answerable"]:
        tally[lang, "answerable"] += 1
        tally[lang, "answered"] += answer["answered"]
        right = answer["answered"] and has_expected(answer["answer"], question["expect"])
        tally[lang, "with the expected facts"] += right
    else:
        tally[lang, "not answerable"] += 1
        tally[lang, "refused"] += not answer["answered"]
    for citation in answer["citations"]:
        tally[lang, f"markers {citation['status']} {citation['reason'] or ''}".strip()] += 1
    tally[lang, "sentences attributed"] += len(answer["attributed"])
    tally[lang, "sentences without a source"] += len(answer["uncited"])
    tally[lang, "quotes not verbatim in the source (must be 0)"] += wrong


def _report(tally: Counter[tuple[str, str]], count: int, seconds: float) -> None:
    print(f"{count} questions, {seconds / max(count, 1):.1f} s each")
    for name in dict.fromkeys(name for _, name in tally):
        print(f"  {name:46s} ru {tally['ru', name]:4d}   en {tally['en', name]:4d}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="of config/local_models.json, or a .gguf")
    parser.add_argument("--extractive", action="store_true", help="without a chat model")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--every", type=int, default=1, help="take each n-th question")
    parser.add_argument("--context-tokens", type=int, default=900)
    parser.add_argument("--out", type=Path, default=Path("answers.jsonl"))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(parser.parse_args(), Path(folder)))


if __name__ == "__main__":
    main()
