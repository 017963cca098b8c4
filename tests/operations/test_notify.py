"""Telling that a run has ended: who is told what, and that nothing that goes wrong is more than a sentence."""

import json
import shlex
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import psutil
import pytest

from hcs_steps.operations.notify import notify
from hcs_steps.run_settings import OnFinishSettings

RUN = {"run_id": "r1", "plate": "P1", "success": True, "state": "done"}
FAILED = RUN | {"success": False, "state": "failed"}


class Server:
    """A web server that keeps what is posted to it; ``answer`` is a status, ``location`` where it redirects to."""

    def __init__(self):
        self.got = []
        self.answer, self.location = 200, None
        self.go_on = Event()
        self.go_on.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, dict(self.headers), body))
                outer.go_on.wait(10)
                self.send_response(outer.answer)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()

            def do_GET(self):
                self.do_POST()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.go_on.set()
    made.server.shutdown()
    made.server.server_close()


def tell(tmp_path, run=RUN, **settings):
    return notify(OnFinishSettings(**settings), run, tmp_path)


def test_a_shell_command_gets_the_run_and_works_in_the_folder_of_the_lab(tmp_path):
    assert tell(tmp_path, command="cat > told.json && echo done >> log.txt") == ""
    assert json.loads((tmp_path / "told.json").read_text()) == RUN
    assert (tmp_path / "log.txt").read_text() == "done\n"


def test_a_listed_command_goes_through_no_shell(tmp_path):
    code = "import sys; open('told', 'w').write(sys.argv[1] + sys.stdin.read())"
    assert tell(tmp_path, command=[sys.executable, "-c", code, "$HOME; x"]) == ""
    assert (tmp_path / "told").read_text().startswith('$HOME; x{\n "plate": "P1"')


@pytest.mark.parametrize(
    ("when", "run", "told"),
    [
        ("always", RUN, True), ("always", FAILED, True), ("failure", RUN, False), ("failure", FAILED, True),
        ("success", RUN, True), ("success", FAILED, False),
    ],
)  # fmt: skip
def test_only_the_runs_that_are_asked_for_are_told(tmp_path, when, run, told):
    assert tell(tmp_path, run, command="touch told", when=when) == ""
    assert (tmp_path / "told").exists() == told


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("exit 7", "The command of on_finish (exit 7) ended with exit code 7."),
        (["/nowhere/mail", "x"], "cannot be started: No such file or directory."),
        ([], "cannot be started"),
        ([""], "cannot be started"),
        (["a\0b"], "cannot be started"),
    ],
)
def test_a_command_that_goes_wrong_is_a_sentence(tmp_path, command, text):
    assert text in tell(tmp_path, command=command)


def test_a_command_that_reads_nothing_is_fine(tmp_path):
    assert tell(tmp_path, RUN | {"reason": "x" * 1_000_000}, command="true") == ""


def test_a_command_ends_in_time_with_everything_that_it_has_started(tmp_path):
    code = "import os, time; os.setsid(); open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    child = shlex.join([sys.executable, "-I", "-S", "-c", code])
    start = time.monotonic()
    told = tell(tmp_path, command=f"{child} & sleep 60", timeout_s=3)
    assert told.endswith("took longer than 3 s and was ended.")
    assert time.monotonic() - start < 30
    pid = int((tmp_path / "pid").read_text())
    assert ends(pid)


def ends(pid):
    """Whether a process is gone before long: who is killed may take a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_web_address_gets_the_run_as_json(tmp_path, server):
    assert tell(tmp_path, webhook=f"{server.url}/hook?a=1") == ""
    ((path, headers, body),) = server.got
    assert path == "/hook?a=1"
    assert json.loads(body) == RUN
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("hcs-steps/")


def test_secrets_come_from_the_environment_and_are_never_told(tmp_path, server, monkeypatch):
    monkeypatch.setenv("SLACK_PATH", "T0/s3cret")
    server.answer = 403
    told = tell(tmp_path, webhook=f"{server.url}/${{SLACK_PATH}}")
    assert server.got[0][0] == "/T0/s3cret"
    assert told == "The webhook of on_finish at http://127.0.0.1 answered with 403."


def test_a_variable_that_is_not_set_is_named(tmp_path, server, monkeypatch):
    monkeypatch.delenv("SLACK_URL", raising=False)
    assert "the environment variable SLACK_URL" in tell(tmp_path, webhook="${SLACK_URL}")
    assert server.got == []


@pytest.mark.parametrize("location", ["/other", "file:///etc/passwd", "ftp://x/y"])
def test_no_redirection_is_followed(tmp_path, server, location):
    server.answer, server.location = 302, location
    assert tell(tmp_path, webhook=server.url).endswith("answered with 302.")
    assert len(server.got) == 1


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://x/s3cret", "//x/s3cret", "s3cret", "http://", "http://[s3cret"]
)
def test_other_addresses_are_refused(tmp_path, address):
    told = tell(tmp_path, webhook=address)
    assert told.startswith("The webhook of on_finish was not called: its address")
    assert "s3cret" not in told


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}/s3cret",
        "http://127.0.0.1:s3cret/",
        "http://nowhere.invalid/s3cret",
        "http://127.0.0.1:{port}/a s3cret\n",
    ],
)
def test_an_address_that_cannot_be_reached_is_a_sentence_without_its_secrets(tmp_path, address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = tell(tmp_path, webhook=address.format(port=free.getsockname()[1]), timeout_s=5)
    assert told.startswith("The webhook of on_finish at http://")
    assert "s3cret" not in told


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path, server):
    server.go_on.clear()
    assert tell(tmp_path, webhook=server.url, timeout_s=0.5).endswith("did not answer within 0.5 s.")


def test_a_server_that_sends_a_byte_now_and_then_is_not_waited_for(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip():
            connection, _ = listening.accept()
            with connection:
                for _ in range(20):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return
                    time.sleep(0.2)

        Thread(target=drip, daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert tell(tmp_path, webhook=address, timeout_s=0.7).endswith("did not answer within 0.7 s.")


def test_command_and_address_are_told_both_and_both_problems(tmp_path, server):
    server.answer = 500
    told = tell(tmp_path, command="exit 1", webhook=server.url)
    assert "exit code 1." in told
    assert "answered with 500." in told
