from __future__ import annotations

import pytest

from tests.api.conftest import OpenClient, put


async def test_a_result_says_where_it_stands_and_how_it_was_found(
    open_client: OpenClient,
) -> None:
    async with open_client() as client:
        await put(client, "# План\n\n## Сроки\n\nСдача проекта 15 января.", "work_plans/plan.md")
        response = await client.get("/search", params={"q": "сдача проекта", "space_id": "s"})

    (hit,) = response.json()["results"]
    assert hit["source"] == "work_plans/plan.md"
    assert hit["doc_type"] == "work_plans"
    assert hit["dense"]["rank"] == hit["bm25"]["rank"] == 1
    assert "Сдача проекта 15 января." in hit["text"]
    assert response.json()["cached"] is False


async def test_word_forms_and_yo_are_found(open_client: OpenClient) -> None:
    async with open_client() as client:
        await put(client, "Отчёты о дедлайнах сдаются еженедельно.")
        response = await client.get("/search", params={"q": "отчет дедлайн", "space_id": "s"})

    assert response.json()["results"][0]["bm25"] is not None


async def test_types_can_be_given_repeated_or_by_commas(open_client: OpenClient) -> None:
    async with open_client() as client:
        await put(client, "срок один", "protocols/a.md")
        await put(client, "срок два", "work_plans/b.md")
        both = await client.get(
            "/search", params={"q": "срок", "space_id": "s", "doc_types": "protocols,work_plans"}
        )
        one = await client.get(
            "/search", params={"q": "срок", "space_id": "s", "doc_types": ["protocols"]}
        )

    assert len(both.json()["results"]) == 2
    assert [hit["source"] for hit in one.json()["results"]] == ["protocols/a.md"]


async def test_one_chunk_per_document_refills_from_further_down(open_client: OpenClient) -> None:
    settings = {"search_one_per_document": True, "search_candidates": 5, "chunk_size_tokens": 32}
    async with open_client(chunk_overlap_tokens=0, **settings) as client:
        await put(client, "\n\n".join(["Срок сдачи проекта. " * 5] * 30), "long.txt")
        for name in ("b.txt", "c.txt"):
            await put(client, f"Срок прочих работ по {name} иной.", name)
        response = await client.get(
            "/search", params={"q": "срок сдачи проекта", "space_id": "s", "top_k": 3}
        )

    sources = [hit["source"] for hit in response.json()["results"]]
    assert sorted(sources) == ["b.txt", "c.txt", "long.txt"]
    assert sources[0] == "long.txt"


async def test_diversity_puts_a_different_chunk_before_a_near_duplicate(
    open_client: OpenClient,
) -> None:
    async with open_client(search_mmr_lambda=0.3) as client:
        await put(client, "срок сдачи проекта январь", "a.txt")
        await put(client, "срок сдачи проекта январь да", "b.txt")
        await put(client, "срок оплаты аванса поставщику", "c.txt")
        response = await client.get(
            "/search", params={"q": "срок сдачи проекта январь", "space_id": "s", "top_k": 2}
        )

    assert [hit["source"] for hit in response.json()["results"]] == ["a.txt", "c.txt"]


async def test_the_second_search_is_cached_until_the_space_changes(
    open_client: OpenClient,
) -> None:
    params = {"q": "срок", "space_id": "s"}
    async with open_client() as client:
        await put(client, "срок один", "a.txt")
        first = (await client.get("/search", params=params)).json()
        second = (await client.get("/search", params=params)).json()
        other = (await client.get("/search", params=params | {"top_k": 1})).json()
        await put(client, "срок два", "b.txt")
        third = (await client.get("/search", params=params)).json()

    assert [first["cached"], second["cached"], other["cached"], third["cached"]] == [
        False,
        True,
        False,
        False,
    ]
    assert second["results"] == first["results"]
    assert len(third["results"]) == 2


async def test_a_delete_makes_cached_answers_unreachable(open_client: OpenClient) -> None:
    params = {"q": "срок", "space_id": "s"}
    async with open_client() as client:
        doc_id = (await put(client, "срок один", "a.txt")).json()["doc_id"]
        await client.get("/search", params=params)
        await client.delete(f"/documents/{doc_id}")
        after = (await client.get("/search", params=params)).json()

    assert (after["cached"], after["results"]) == (False, [])


async def test_caching_can_be_switched_off(open_client: OpenClient) -> None:
    params = {"q": "срок", "space_id": "s"}
    async with open_client(cache_size=0) as client:
        await put(client, "срок")
        await client.get("/search", params=params)
        again = (await client.get("/search", params=params)).json()

    assert again["cached"] is False


@pytest.mark.parametrize(
    ("params", "status", "named"),
    [
        ({"q": "", "space_id": "s"}, 422, "q"),
        ({"q": "x", "space_id": "no spaces"}, 400, "space_id"),
        ({"q": "x", "space_id": "s", "top_k": "1000"}, 413, "SEARCH_MAX_TOP_K"),
        ({"q": "x", "space_id": "s", "doc_types": "novel"}, 400, "doc_type"),
    ],
)
async def test_a_wrong_request_is_refused_with_the_name_of_what_is_wrong(
    open_client: OpenClient, params: dict[str, str], status: int, named: str
) -> None:
    async with open_client() as client:
        response = await client.get("/search", params=params)

    assert response.status_code == status
    assert named in response.json()["error"]["message"]
