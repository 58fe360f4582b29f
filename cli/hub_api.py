"""What a model hub has: repositories, their files with sizes and checksums, and who may read them.

The two requests are those of huggingface_hub's ``snapshot_download``, so mirrors answer them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from cli.hub_download import HUB_TIMEOUT, HubDownload, in_time
from cli.model_fetch import Checksum, FetchError

PUBLIC_HUB = "https://huggingface.co"
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_FILE")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PAGES = 1000  # of the listing; more than any repository has


class Gated(FetchError):
    """Its owner wants a form accepted first."""


@dataclass(frozen=True, slots=True)
class Token:
    """``variable``: where it was said, for messages."""

    value: str = field(repr=False)
    variable: str


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    path: str
    size_bytes: int
    checksum: Checksum

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository as it is at one commit."""

    repository: str
    commit: str
    files: tuple[RepositoryFile, ...]


def check_repository(repository: str, revision: str) -> None:
    """Before anything is asked or written under these names.

    Raises:
        FetchError: these cannot be names of a hub.
    """
    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        hint = (
            " With a colon it is a name of Ollama: --provider ollama." if ":" in repository else ""
        )
        raise FetchError(
            f"{repository!r} is no repository of a model hub: those are written ORGANIZATION/NAME,"
            f" as Qwen/Qwen3-8B-AWQ.{hint}"
        )
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise FetchError(f"{revision!r} is no revision: a branch, a tag or a commit.")


@dataclass(frozen=True, slots=True)
class Hub:
    url: str = PUBLIC_HUB
    token: Token | None = None

    @property
    def host(self) -> str:
        return httpx.URL(self.url).host

    def listing(self, repository: str, revision: str) -> Listing:
        """The repository as the revision has it now.

        Raises:
            FetchError: there is no such thing, it may not be read, or the hub is not reached.
        """
        check_repository(repository, revision)
        about = f"{self._base}/api/models/{repository}/revision/{quote(revision, safe='')}"
        with self._client() as client:
            commit = self._json(client, about, repository, revision).get("sha", "")
            if not isinstance(commit, str) or not _SHA1.fullmatch(commit):
                raise FetchError(f"{self.host} answered without the commit of {repository}.")
            files = tuple(self._files(client, repository, commit))
        return Listing(repository, commit, files)

    def check_access(self, listing: Listing, file: RepositoryFile) -> None:
        """Names and sizes are public where content is not, so content is asked for too.

        Raises:
            FetchError: it may not be read.
        """
        with self._client() as client:
            # Not followed: the address of the content itself may be signed for GET alone.
            response = self._send(client, "HEAD", self._resolve(listing, file), follow=False)
            if response.is_error:
                raise self._refusal(response, listing.repository, listing.commit)

    def download(self, listing: Listing, file: RepositoryFile) -> HubDownload:
        return HubDownload(
            name=file.path,
            url=self._resolve(listing, file),
            size_bytes=file.size_bytes,
            headers=self._headers,
            refused=lambda response: str(
                self._refusal(response, listing.repository, listing.commit)
            ),
        )

    @property
    def _base(self) -> str:
        return self.url.rstrip("/")

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token.value}"} if self.token else {}

    def _client(self) -> httpx.Client:
        # httpx takes the Authorization header off when a redirect leaves the hub's host.
        return httpx.Client(timeout=HUB_TIMEOUT, headers=self._headers)

    def _resolve(self, listing: Listing, file: RepositoryFile) -> str:
        return f"{self._base}/{listing.repository}/resolve/{listing.commit}/{quote(file.path)}"

    def _files(
        self, client: httpx.Client, repository: str, commit: str
    ) -> Iterator[RepositoryFile]:
        url = f"{self._base}/api/models/{repository}/tree/{commit}"
        query = {"recursive": "true"}
        for _ in range(_PAGES):
            response = self._send(client, "GET", url, query)
            for entry in self._parsed(response, repository, commit):
                if entry.get("type") == "file":
                    yield _file(entry)
            following = response.links.get("next", {}).get("url")
            if not following:
                return
            # Only its parameters: behind a mirror the address may be the public hub's.
            query = dict(httpx.URL(following).params)
        raise FetchError(f"{self.host} never ends the list of {repository}.")

    def _send(
        self,
        client: httpx.Client,
        method: str,
        url: str,
        query: dict[str, str] | None = None,
        *,
        follow: bool = True,
    ) -> httpx.Response:
        try:
            return in_time(
                lambda: client.request(method, url, params=query, follow_redirects=follow)
            )
        except httpx.HTTPError as error:
            raise FetchError(
                f"{self.host} is unreachable ({type(error).__name__})."
                " Another hub is named with HF_ENDPOINT, a proxy with HTTPS_PROXY."
            ) from error

    def _json(
        self, client: httpx.Client, url: str, repository: str, revision: str
    ) -> dict[str, Any]:
        body = self._parsed(self._send(client, "GET", url), repository, revision)
        if not isinstance(body, dict):
            raise FetchError(f"{self.host} did not answer as a model hub does.")
        return body

    def _parsed(self, response: httpx.Response, repository: str, revision: str) -> Any:
        if response.is_error:
            raise self._refusal(response, repository, revision)
        try:
            return response.json()
        except ValueError as error:
            raise FetchError(f"{self.host} did not answer as a model hub does.") from error

    def _refusal(self, response: httpx.Response, repository: str, revision: str) -> FetchError:
        """The hub's error codes, as huggingface_hub reads them."""
        code = response.headers.get("x-error-code", "")
        said = response.headers.get("x-error-message", "")
        status = response.status_code
        if code == "GatedRepo":
            return Gated(self._gated(repository))
        if self.token and (status == httpx.codes.UNAUTHORIZED or "Invalid credentials" in said):
            return FetchError(
                f"{self.host} does not accept the token in {self.token.variable}. Make a new one at"
                f" {self._base}/settings/tokens, or leave {self.token.variable} empty for a public"
                " model."
            )
        if code == "RevisionNotFound":
            return FetchError(f"{repository} has no revision {revision!r}.")
        if code == "EntryNotFound":
            return FetchError(f"{repository} has no such file at {revision}.")
        if code == "RepoNotFound" or status in {
            httpx.codes.UNAUTHORIZED,
            httpx.codes.FORBIDDEN,
            httpx.codes.NOT_FOUND,
        }:
            return FetchError(self._unknown(repository))
        again = " Try again later; the same command goes on from here." if status >= 429 else ""
        return FetchError(f"{self.host} answered {status}.{again}")

    def _gated(self, repository: str) -> str:
        page = f"{self._base}/{repository}"
        if self.token is None:
            return (
                f"{repository} is gated: accept its terms at {page}, make a token with read access"
                f" at {self._base}/settings/tokens and put it into .env: HF_TOKEN=hf_…"
            )
        return (
            f"{repository} is gated, and the account of the token in {self.token.variable} may not"
            f" read it: accept its terms at {page} (some owners grant access by hand, later). A"
            " fine-grained token also needs the right to read public gated repositories."
        )

    def _unknown(self, repository: str) -> str:
        who = (
            f"the account of the token in {self.token.variable} may not read it"
            if self.token
            else "it is private, which needs HF_TOKEN=hf_… in .env"
        )
        return f"{self.host} has no repository {repository}, or {who}. Check the name's spelling."


def _file(entry: dict[str, Any]) -> RepositoryFile:
    """Nothing of a listing may lead out of the folder it is fetched into."""
    path, lfs = entry.get("path"), entry.get("lfs") or {}
    digest = lfs.get("oid") or entry.get("oid")
    size = lfs.get("size", entry.get("size"))
    if not isinstance(path, str) or not path or "\\" in path or "\0" in path:
        raise FetchError(f"The hub lists a file with an impossible name: {path!r}.")
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise FetchError(f"The hub lists a file with an impossible name: {path!r}.")
    pattern = _SHA256 if lfs else _SHA1
    if not isinstance(digest, str) or not pattern.fullmatch(digest):
        raise FetchError(f"The hub lists {path} without a checksum.")
    if not isinstance(size, int) or size < 0:
        raise FetchError(f"The hub lists {path} without a size.")
    return RepositoryFile(path, size, Checksum("sha256" if lfs else "git", digest))
