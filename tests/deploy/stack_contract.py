"""What holds for every deployment on a real engine: answers, restarts, losses, down and up."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

import pytest

from tests.deploy.compose_project import HOST_SECRETS, wait_until
from tests.deploy.stacks import INDEX, RunningStack, Stack


class StackContract:
    """Subclasses name the ``stack``; it is brought up once for all tests of the class."""

    stack: ClassVar[Stack]

    def test_the_services_of_the_profile_run_and_no_other(self, running: RunningStack) -> None:
        assert set(running.project.containers()) == running.stack.services

    def test_every_part_of_the_backend_is_healthy(self, running: RunningStack) -> None:
        answer = running.get("/health")

        assert answer.status_code == 200
        assert {part["state"] for part in answer.json()["components"].values()} == {"ok"}

    def test_the_samples_are_indexed_from_inside_the_container(self, running: RunningStack) -> None:
        again = running.project.exec("backend", INDEX).stdout

        assert "0 failed" in running.indexed
        assert " 0 indexed" not in running.indexed
        assert f"{len(running.documents())} unchanged" in again

    def test_a_question_is_answered_by_the_model(self, running: RunningStack) -> None:
        answer = running.ask().json()

        assert answer["generation"] == "model"
        assert answer["answer"].strip()

    def test_the_model_that_answers_is_the_one_that_was_chosen(self, running: RunningStack) -> None:
        found = running.get("/model-config").json()

        assert found["provider"] == running.stack.provider

    def test_an_answer_streams_through_the_published_port(self, running: RunningStack) -> None:
        answer = running.ask(stream=True)

        events = [line for line in answer.text.splitlines() if line.startswith("event: ")]
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert events[0] == "event: sources"
        assert '"doc_id"' in answer.text.splitlines()[1]
        assert "event: delta" in events
        assert events[-1] == "event: complete"

    def test_ports_are_published_on_localhost_alone(self, running: RunningStack) -> None:
        published = [
            binding["HostIp"]
            for container in running.project.containers().values()
            for bindings in container["NetworkSettings"]["Ports"].values()
            for binding in bindings or []
        ]

        assert published
        assert set(published) == {"127.0.0.1"}

    # --- what the backend's container cannot do --------------------------------------------------

    def test_the_backend_is_nobody_with_no_rights(self, running: RunningStack) -> None:
        status = running.project.exec("backend", "cat /proc/self/status").stdout

        values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert values["Uid"].split() == ["10001"] * 4
        assert int(values["CapEff"], 16) == int(values["CapBnd"], 16) == 0
        assert values["NoNewPrivs"] == "1"

    @pytest.mark.parametrize("path", ["/x", "/app/x", "/app/docs/x", "/opt/venv/x", "/etc/x"])
    def test_the_backend_writes_nowhere_but_into_its_volume(
        self, running: RunningStack, path: str
    ) -> None:
        refused = running.project.exec("backend", f"touch {path}", check=False)
        running.project.exec("backend", "sh -c 'touch /data/x /tmp/x && rm /data/x /tmp/x'")

        assert refused.returncode != 0

    def test_the_backend_has_no_way_to_the_engine(self, running: RunningStack) -> None:
        sockets = "sh -c 'ls /var/run/docker.sock /run/docker.sock 2>/dev/null; true'"
        mounts = running.project.containers()["backend"]["Mounts"]

        assert running.project.exec("backend", sockets).stdout == ""
        assert {mount["Destination"] for mount in mounts} <= {"/data", "/app/docs"} | {
            mount["Destination"]
            for mount in mounts
            if mount["Destination"].startswith("/run/secrets/")
        }

    def test_the_backend_has_no_secret_of_another_service(self, running: RunningStack) -> None:
        everything = running.project.exec(
            "backend", "sh -c 'cat /proc/*/environ /run/secrets/* 2>/dev/null; true'"
        ).stdout

        assert not [secret for secret in HOST_SECRETS.values() if secret in everything]

    # --- restarts and losses ---------------------------------------------------------------------

    def test_after_a_restart_of_each_container_the_documents_are_still_there(
        self, running: RunningStack
    ) -> None:
        before = running.documents()

        for service in sorted(running.stack.services):
            running.project.compose(f"restart -t 10 {service}")
        running.project.up()

        assert running.documents() == before
        wait_until(running.answers)

    def test_a_model_server_that_is_stopped_is_told_of_and_answers_return(
        self, running: RunningStack
    ) -> None:
        running.project.compose(f"stop -t 5 {running.stack.answers_from}")
        health, answer = running.get("/health"), running.ask()
        running.project.compose(f"start {running.stack.answers_from}")

        assert health.status_code == 503
        assert health.json()["components"]["generator"]["state"] != "ok"
        assert answer.status_code in {502, 503, 504}
        assert "error" in answer.json()
        wait_until(running.answers, 120)

    def test_a_model_server_that_crashes_comes_back_by_itself(self, running: RunningStack) -> None:
        before = running.project.containers()[running.stack.answers_from]

        os.kill(before["State"]["Pid"], signal.SIGKILL)

        def is_back() -> bool:
            now = running.project.containers().get(running.stack.answers_from)
            return now is not None and now["RestartCount"] > before["RestartCount"]

        wait_until(is_back)
        wait_until(running.answers, 120)

    def test_down_and_up_again_keeps_the_documents(self, running: RunningStack) -> None:
        before = running.documents()

        running.project.down()
        running.project.up()

        assert running.documents() == before
        wait_until(running.answers)
