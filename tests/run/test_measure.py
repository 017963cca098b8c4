"""Which commit a record names, and that it says so where the work tree differs."""

import os
import shutil
import subprocess
import time

import psutil
import pytest

from hcs_steps.run import measure
from hcs_steps.run.measure import COMMIT, commit_state, environment, git_commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder, *arguments):
    settings = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | settings, capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def lab(tmp_path):
    """A repository with one commit."""
    folder = tmp_path / "lab"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "config.yaml").write_text("a: 1\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    monkeypatch.delenv(COMMIT, raising=False)
    git_commit.cache_clear()
    yield
    git_commit.cache_clear()


def test_a_clean_work_tree_is_its_commit_from_any_folder_in_it(lab):
    head = git(lab, "rev-parse", "HEAD")
    assert commit_state(lab) == commit_state(lab / "config") == head


def test_results_and_other_files_that_are_not_tracked_do_not_make_it_dirty(lab):
    (lab / "results").mkdir()
    (lab / "results" / "run.json").write_text("{}")
    assert commit_state(lab) == git(lab, "rev-parse", "HEAD")


@pytest.mark.parametrize("staged", [False, True])
def test_a_change_of_a_tracked_file_makes_it_dirty(lab, staged):
    (lab / "config" / "config.yaml").write_text("a: 2\n")
    if staged:
        git(lab, "add", "-A")
    assert commit_state(lab) == git(lab, "rev-parse", "HEAD") + "-dirty"


def test_a_file_that_is_only_touched_does_not(lab):
    os.utime(lab / "config" / "config.yaml", (1, 1))
    assert commit_state(lab) == git(lab, "rev-parse", "HEAD")


def test_a_detached_head_is_its_commit(lab):
    git(lab, "checkout", "-q", "--detach")
    assert commit_state(lab) == git(lab, "rev-parse", "HEAD")


def test_a_work_tree_beside_the_repository_has_its_own_commit_and_state(lab, tmp_path):
    git(lab, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    (lab / "config" / "config.yaml").write_text("a: 2\n")
    assert (tmp_path / "tree" / ".git").is_file()
    assert commit_state(tmp_path / "tree") == git(lab, "rev-parse", "other")


def test_a_submodule_is_a_repository_of_its_own(lab, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "submodule", "add", "-q", str(lab), "inner")
    git(outer, "commit", "-qm", "outer")
    assert (outer / "inner" / ".git").is_file()
    assert commit_state(outer / "inner") == git(lab, "rev-parse", "HEAD")
    assert commit_state(outer) == git(outer, "rev-parse", "HEAD")


def test_nothing_is_known_without_a_repository_or_a_commit(tmp_path):
    assert commit_state(tmp_path) == ""
    git(tmp_path, "init", "-q")
    assert commit_state(tmp_path) == ""
    assert commit_state(tmp_path / "nowhere") == ""


def test_nothing_is_known_without_git(lab, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_state(lab) == ""


def test_git_is_not_waited_for_and_ends_with_its_helpers(lab, monkeypatch, tmp_path):
    """A repository so large that git takes long; its helpers hold the pipe open."""
    pid = tmp_path / "pid"
    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {pid}\necho '# branch.oid abc'\nsleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(measure, "PATIENCE", 1.0)
    start = time.monotonic()
    assert commit_state(lab) == ""
    assert time.monotonic() - start < 30
    assert ends(int(pid.read_text()))


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


def test_nothing_is_written_into_the_repository(lab):
    os.utime(lab / "config" / "config.yaml", (1, 1))  # git would refresh its index
    before = {p: p.stat().st_mtime_ns for p in lab.rglob("*")}
    commit_state(lab)
    assert {p: p.stat().st_mtime_ns for p in lab.rglob("*")} == before


def test_jobs_take_what_the_main_process_found_out(lab, monkeypatch):
    monkeypatch.chdir(lab)
    assert environment()["git_commit"] == git(lab, "rev-parse", "HEAD")
    for told in ("abc-dirty", ""):
        git_commit.cache_clear()
        monkeypatch.setenv(COMMIT, told)
        assert environment()["git_commit"] == told


def test_a_process_asks_git_once(lab, monkeypatch):
    monkeypatch.chdir(lab)
    asked = []

    def counted(*args, _popen=subprocess.Popen, **kwargs):
        asked.append(args)
        return _popen(*args, **kwargs)

    monkeypatch.setattr(measure.subprocess, "Popen", counted)
    environment()
    environment()
    assert len(asked) == 1
