"""Telling somebody that a run has ended: a command that gets run.json, or a web address that it is posted to.

Nothing that goes wrong here changes what a run has done: it is a sentence for the log.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hcs_steps import __version__
from hcs_steps.storage.atomic import json_bytes

if TYPE_CHECKING:
    from hcs_steps.run_settings import OnFinishSettings

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def notify(settings: OnFinishSettings, run: Mapping[str, Any], folder: Path) -> str:
    """Tell who is to be told of a run; '' or, in a sentence each, what went wrong. Never raises.

    ``run`` is the content of run.json, ``folder`` that of the lab, in which the command runs. What the command prints
    goes where the output of this process goes. A web address is never shown beyond its host: it may hold a secret.
    """
    success = bool(run.get("success"))
    if settings.when == ("failure" if success else "success"):
        return ""
    content = json_bytes(run)
    problems = []
    if settings.command is not None:
        problems.append(_call(settings.command, content, folder, settings.timeout_s))
    if settings.webhook is not None:
        problems.append(_post(settings.webhook, content, settings.timeout_s))
    return " ".join(filter(None, problems))


def _call(command: str | list[str], content: bytes, folder: Path, timeout_s: float) -> str:
    """Run the command with ``content`` on its standard input; with everything it has started, it ends in time."""
    name = command if isinstance(command, str) else " ".join(command)
    name = f"The command of on_finish ({name if len(name) <= 60 else f'{name[:57]}...'})"
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command] if isinstance(command, str) else command,
            cwd=folder,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        return f"{name} cannot be started: {getattr(error, 'strerror', None) or error}."
    try:
        process.communicate(content, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return f"{name} took longer than {timeout_s:g} s and was ended."
    except BaseException:
        _kill(process)
        raise
    code = process.returncode
    return f"{name} ended with exit code {code}." if code else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its descendants, also those that have left its group."""
    import psutil

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
    process.wait()


def _post(webhook: str, content: bytes, timeout_s: float) -> str:
    """Post ``content`` as JSON to a web address, with ``${NAME}`` in it filled from the environment."""
    unset = [name for name in _VARIABLE.findall(webhook) if not os.environ.get(name)]
    if unset:
        return (
            f"The webhook of on_finish was not called: the environment variable {unset[0]}, which its address "
            "names, is not set."
        )
    address = _VARIABLE.sub(lambda found: os.environ[found[1]], webhook)
    try:
        parts = urlsplit(address)
        host = f"{parts.scheme}://{parts.hostname}"
    except ValueError:
        return "The webhook of on_finish was not called: its address is none."
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "The webhook of on_finish was not called: its address must start with http:// or https:// and a host."
    name = f"The webhook of on_finish at {host}"
    told: list[str] = []
    # The time-out of a socket starts anew with every byte, and looking up a name has none.
    sender = Thread(target=lambda: told.append(_send(address, name, content, timeout_s)), daemon=True)
    sender.start()
    sender.join(timeout_s)
    return told[0] if told else _late(name, timeout_s)


def _late(name: str, timeout_s: float) -> str:
    return f"{name} did not answer within {timeout_s:g} s."


def _send(address: str, name: str, content: bytes, timeout_s: float) -> str:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request

    headers = {"Content-Type": "application/json", "User-Agent": f"hcs-steps/{__version__}"}
    try:
        request = Request(address, data=content, headers=headers, method="POST")
        with _opener().open(request, timeout=timeout_s) as answer:
            return "" if answer.status < 300 else f"{name} answered with {answer.status}."
    except HTTPError as error:
        with error:
            return f"{name} answered with {error.code}."
    except (OSError, HTTPException, ValueError) as error:
        # The text of some of these errors holds the address.
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return _late(name, timeout_s)
        known = reason.strerror if isinstance(reason, OSError) else None
        return f"{name} cannot be reached: {known or type(reason).__name__}."


def _opener() -> Any:
    """Opens web addresses and nothing else, and follows no redirection: a POST would become a GET on the way."""
    from urllib import request

    class NoRedirect(request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any) -> None:
            return None

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        NoRedirect,
    ):
        opener.add_handler(handler())
    return opener
