"""A real Slurm on this machine, for tests: two nodes, accounting, two GPUs that are none.

``python tests/slurm/cluster.py start`` (Debian 12, root, no systemd needed) installs what is missing, brings up munge,
MariaDB, slurmdbd, slurmctld and two slurmd, and prints what to put into the environment; again, it starts what is down.
``stop`` ends them. Everything is in a folder of its own, with ports and sockets of its own: a Slurm that the machine
belongs to, its configuration and its munge key are not touched.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import configuration

HOME = Path("/var/lib/hcs-steps-slurm")
NODES = ("hcs1", "hcs2")
"""Both are this machine; the first has the GPUs."""
GPUS = 2
CPUS_PER_NODE = 4
ENVIRONMENT = {
    "SLURM_CONF": str(HOME / "slurm.conf"),
    "PATH": os.pathsep.join([str(HOME / "bin"), *os.environ["PATH"].split(os.pathsep)]),
}

PACKAGES = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}
LIBRARIES = ("slurm-wlm-basic-plugins", "slurm-wlm-mysql-plugin")
PORTS = {"ctld": 26817, "dbd": 26819, "mariadb": 26820, "d": 26830}
PATIENCE_S = 30.0


class Unavailable(Exception):
    """Slurm cannot be brought up here, and why."""


def start() -> None:
    """Bring up what is down. Raises `Unavailable` with the reason if that cannot be done."""
    if os.geteuid() != 0:
        raise Unavailable("a test Slurm is started by root only")
    _install()
    for folder in ("bin", "log", "state", "munge", "database", *(f"spool-{name}" for name in NODES)):
        (HOME / folder).mkdir(parents=True, exist_ok=True)
    os.environ.update(ENVIRONMENT)
    _start_munge()
    _write_configuration()
    _start_database()
    _start_accounting()
    _start_daemon("slurmctld", ["slurmctld"], lambda: "UP" in _output("scontrol", "ping"))
    for name in NODES:
        _start_daemon(name, ["slurmd", "-N", name], lambda: True)
    _wait("its nodes", _nodes_are_up)


def stop() -> None:
    """End all jobs and daemons of this Slurm, by the process ids that they left."""
    os.environ.update(ENVIRONMENT)
    if _pid("slurmctld") is not None:
        subprocess.run(["scancel", "--user", "root"], check=False, capture_output=True)
        with suppress(Unavailable):  # a daemon waits for what its node still runs
            _wait("the end of jobs", lambda: not _output("squeue", "-h"))
    for name in (*NODES, "slurmctld", "slurmdbd", "database/mariadb", "munge/munged"):
        pid = _pid(name)
        if pid is None:
            continue
        os.kill(pid, signal.SIGTERM)
        try:
            _wait(f"the end of {name}", lambda pid=pid: not _is_alive(pid))
        except Unavailable:
            os.kill(pid, signal.SIGKILL)


def _install() -> None:
    """Packages of Debian; nothing is started by them."""
    if all(shutil.which(program) for program in PACKAGES):
        return
    if "bookworm" not in Path("/etc/os-release").read_text() or not shutil.which("apt-get"):
        raise Unavailable(
            "Slurm is not installed, and this is not Debian 12, whose packages could be installed"
        )
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        names = ["--no-install-recommends", *PACKAGES.values(), *LIBRARIES]
        for command in (["update", "-qq"], ["install", "-y", "-qq", *names]):
            done = subprocess.run(["apt-get", *command], env=quiet, capture_output=True, text=True)
            if done.returncode:
                raise Unavailable(f"apt-get {command[0]} failed: {done.stderr.strip()[-300:]}")
    finally:
        if made:
            policy.unlink()


def _start_munge() -> None:
    folder = HOME / "munge"
    folder.chmod(0o755)
    key = folder / "key"
    if not key.exists():
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(stat.S_IRUSR)
    files = {
        "key-file": "key",
        "socket": "socket",
        "pid-file": "munged.pid",
        "log-file": "log",
        "seed-file": "seed",
    }
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    _start_daemon(
        "munge/munged",
        ["munged", "--force", *options],
        lambda: stat.S_ISSOCK((folder / "socket").stat().st_mode),
    )


def _write_configuration() -> None:
    host = socket.gethostname().partition(".")[0]
    try:
        socket.gethostbyname(host)
    except OSError:
        raise Unavailable(f"this machine's name, {host}, has no address; add it to /etc/hosts") from None
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024 * 9 // 10 // len(NODES)
    values = {"home": HOME, "host": host, "cpus": CPUS_PER_NODE, "memory": memory, **PORTS}
    lines = [
        configuration.NODE.format(
            name=name, port=PORTS["d"] + number, gres="" if number else f" Gres=gpu:{GPUS}", **values
        )
        for number, name in enumerate(NODES)
    ]
    for number in range(GPUS):
        device = HOME / f"gpu{number}"
        if not device.exists():
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # as /dev/null
    texts = {
        "slurm.conf": configuration.SLURM_CONF.format(nodes="\n".join(lines), gpu_node=NODES[0], **values),
        "slurmdbd.conf": configuration.SLURMDBD_CONF.format(**values),
        "gres.conf": f"NodeName={NODES[0]} Name=gpu File={HOME}/gpu[0-{GPUS - 1}]\n",
        "cgroup.conf": "CgroupAutomount=no\nConstrainCores=no\nConstrainDevices=no\n",
    }
    for name, text in texts.items():
        (HOME / name).write_text(text)
        (HOME / name).chmod(0o600 if name == "slurmdbd.conf" else 0o644)
    srun = shutil.which("srun", path=os.pathsep.join(["/usr/bin", "/usr/local/bin"]))
    (HOME / "bin" / "srun").write_text(configuration.SRUN.format(home=HOME, srun=srun))
    (HOME / "bin" / "srun").chmod(0o755)


def _start_database() -> None:
    folder = HOME / "database"
    shutil.chown(folder, "mysql", "mysql")
    if not (folder / "mysql").is_dir():
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={folder}"]
        _run(*install, "--auth-root-authentication-method=socket", "--skip-test-db")
    client = ["--no-defaults", f"--socket={folder / 'socket'}", "--user=root"]
    options = [
        "--no-defaults", "--user=mysql", f"--datadir={folder}", f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'mariadb.pid'}", "--bind-address=127.0.0.1", f"--port={PORTS['mariadb']}",
        "--skip-name-resolve", "--innodb-buffer-pool-size=128M", "--innodb-lock-wait-timeout=900",
        "--innodb-flush-log-at-trx-commit=2", "--performance-schema=OFF",
    ]  # fmt: skip
    _start_daemon(
        "database/mariadb",
        ["mariadbd", *options],
        lambda: "alive" in _output("mariadb-admin", *client, "ping"),
    )
    _run("mariadb", *client, "-e", configuration.DATABASE)


def _start_accounting() -> None:
    query = ["sacctmgr", "-n", "show", "cluster"]
    _start_daemon(
        "slurmdbd", ["slurmdbd"], lambda: subprocess.run(query, capture_output=True).returncode == 0
    )
    if "hcs" not in _output("sacctmgr", "-n", "-p", "show", "user", "root", "format=user,defaultaccount"):
        _run("sacctmgr", "-i", "-Q", "add", "cluster", "hcs")
        _run("sacctmgr", "-i", "-Q", "add", "account", "hcs", "cluster=hcs")
        _output(
            "sacctmgr", "-i", "-Q", "add", "user", "root", "account=hcs", "cluster=hcs", "defaultaccount=hcs"
        )


def _nodes_are_up() -> bool:
    states = _output("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t").split("\n")
    found = dict(line.split() for line in states if line)
    for name in NODES:
        if found.get(name, "").strip("*").startswith(("down", "drain", "drng")):
            _output("scontrol", "update", f"nodename={name}", "state=resume")
    return all(found.get(name) in ("idle", "mix", "alloc") for name in NODES)


def _start_daemon(name: str, command: Sequence[str], is_up: Callable[[], bool]) -> None:
    """Start a program unless it runs, and wait until it answers."""
    if _pid(name) is None:
        log = HOME / "log" / f"{name.rpartition('/')[2]}.out"
        with log.open("ab") as out:
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
    _wait(name, lambda: _pid(name) is not None and is_up())


def _wait(what: str, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(OSError):
            if until():
                return
        if time.monotonic() > deadline:
            raise Unavailable(f"waited {PATIENCE_S:.0f} s for {what}; see {HOME / 'log'}")
        time.sleep(0.1)


def _pid(name: str) -> int | None:
    """The process that a daemon's file names, if it lives."""
    try:
        pid = int((HOME / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if _is_alive(pid) else None


def _is_alive(pid: int) -> bool:
    """Whether there is a process of that id; one that has ended and was not asked about is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def main(words: Sequence[str]) -> int:
    """``start`` or ``stop``."""
    if list(words) not in (["start"], ["stop"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        {"start": start, "stop": stop}[words[0]]()
    except Unavailable as error:
        print(f"No test Slurm: {error}.", file=sys.stderr)
        return 1
    if words == ["start"]:
        print("\n".join(f"export {name}={value}" for name, value in ENVIRONMENT.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
