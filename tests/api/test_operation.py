from __future__ import annotations

import re

import pytest

from tests.api.conftest import OpenClient, loading_chat, put


async def test_health_names_every_part_and_what_is_odd_about_the_configuration(
    open_client: OpenClient,
) -> None:
    async with open_client() as client:
        response = await client.get("/health")

    body = response.json()
    assert response.status_code == 200
    assert set(body["components"]) == {"store", "embedder", "generator"}
    assert "LLM_FOO is unknown." in body["warnings"]
    assert any("API_KEY" in warning for warning in body["warnings"])


async def test_health_is_503_while_the_model_is_loading(open_client: OpenClient) -> None:
    async with open_client(chat=loading_chat()) as client:
        response = await client.get("/health")

    assert response.status_code == 503
    assert response.json()["status"] == "starting"
    assert response.json()["components"]["generator"]["state"] == "starting"


@pytest.mark.parametrize("path", ["/documents?space_id=s", "/search?q=x&space_id=s"])
async def test_with_keys_configured_a_request_needs_one_of_them(
    open_client: OpenClient, path: str
) -> None:
    async with open_client(API_KEY="first, second") as client:
        without = await client.get(path)
        wrong = await client.get(path, headers={"Authorization": "Bearer third"})
        right = await client.get(path, headers={"Authorization": "Bearer second"})
        health = await client.get("/health")

    assert [without.status_code, wrong.status_code] == [401, 401]
    assert right.status_code == health.status_code == 200


async def test_every_answer_carries_its_request_id_errors_too(open_client: OpenClient) -> None:
    async with open_client() as client:
        given = await client.get("/documents/unknown", headers={"X-Request-ID": "abc-1"})
        made = await client.get("/health", headers={"X-Request-ID": "bad id\n"})

    assert given.headers["x-request-id"] == given.json()["error"]["request_id"] == "abc-1"
    assert len(made.headers["x-request-id"]) == 16


async def test_an_unknown_path_and_an_unknown_field_have_the_usual_error_shape(
    open_client: OpenClient,
) -> None:
    async with open_client() as client:
        path = await client.get("/nothing")
        field = await client.post("/ask", json={"q": "x", "space_id": "s", "topk": 3})

    assert path.json()["error"]["code"] == "not_found"
    assert field.status_code == 422
    assert "topk" in field.json()["error"]["message"]


async def test_an_unexpected_failure_tells_the_request_id_and_nothing_else(
    open_client: OpenClient,
) -> None:
    class Broken:
        async def parse(self, path: object, name: str) -> None:
            raise ValueError("a secret detail")

    async with open_client(parser=Broken()) as client:  # type: ignore[arg-type]
        response = await put(client, "text")

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"
    assert "secret" not in response.text


async def test_only_an_upload_may_be_large(open_client: OpenClient) -> None:
    async with open_client() as client:
        response = await client.post("/ask", json={"q": "x" * 2_000_000, "space_id": "s"})

    assert response.status_code == 400
    assert "1048576 bytes" in response.json()["error"]["message"]


async def test_a_question_of_blanks_is_no_question(open_client: OpenClient) -> None:
    async with open_client() as client:
        asked = await client.post("/ask", json={"q": "   ", "space_id": "s"})
        searched = await client.get("/search", params={"q": "   ", "space_id": "s"})

    assert asked.status_code == searched.status_code == 422


async def test_the_page_of_the_api_needs_nothing_from_outside(open_client: OpenClient) -> None:
    async with open_client(API_KEY="secret") as client:
        page = await client.get("/docs")
        addresses = re.findall(r'(?:src|href|url)(?:=|: ?)["\']([^"\']+)', page.text)
        found = [(await client.get(address)).status_code for address in addresses]

    assert len(addresses) >= 3
    assert [address for address in addresses if not address.startswith("/")] == []
    assert set(found) == {200}
