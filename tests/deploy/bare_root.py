"""A bare Debian 12 in a folder, and services in it as their units say, without systemd."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

APT = Path("/etc/apt")
SOURCES = sorted([*APT.glob("sources.list"), *APT.glob("*/*.list"), *APT.glob("*/*.sources")])
UNITS = "etc/systemd/system"
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BareRoot:
    """Debian's smallest system, with Python; what is mounted or started in it ends with it.

    `ready_made` is such a folder from before, which is copied.
    """

    def __init__(self, folder: Path, ready_made: Path | None = None):
        self.path = folder / "root"
        self.processes: dict[str, subprocess.Popen] = {}
        if ready_made:
            system("cp", "--archive", ready_made, self.path)
        else:
            options = ["--variant=minbase", "--include=python3"]
            system("debootstrap", *options, "bookworm", self.path, mirror())

    def __enter__(self) -> "BareRoot":
        self._borrow_the_registries()
        system("mount", "-t", "proc", "proc", self.path / "proc")
        return self

    def __exit__(self, *exc: object) -> None:
        for unit in list(self.processes):
            self.stop(unit, signal.SIGKILL)
        system("umount", self.path / "proc")

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        """A command as root in there; its output and its errors are one text."""
        inside = ("chroot", self.path, *command)
        return subprocess.run(
            inside,
            env={"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"} | self.pip | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )

    def start(self, unit: str) -> None:
        """What the unit's ExecStart says, as its user, shut in much as systemd would."""
        self.processes[unit] = subprocess.Popen(self._shut_in(unit, "ExecStart"))

    def stop(self, unit: str, how: int = signal.SIGTERM) -> None:
        """End it, and do what the unit wants done afterwards."""
        process = self.processes.pop(unit)
        process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()
        if self.values(unit, "ExecStopPost"):
            subprocess.run(self._shut_in(unit, "ExecStopPost"), check=True, timeout=60)

    def values(self, unit: str, name: str) -> list[str]:
        text = (self.path / UNITS / unit).read_text()
        return re.findall(rf"^{name}=(.*)$", text, re.M)

    def snapshot(self, *folders: str) -> dict[str, tuple]:
        """Whatever could tell that somebody wrote there."""
        found = {}
        for folder in folders:
            for path in (self.path / folder).rglob("*"):
                status = path.lstat()
                found[str(path)] = (
                    status.st_mode, status.st_uid, status.st_gid, status.st_size,
                    status.st_mtime_ns, status.st_ino,
                )  # fmt: skip
        return found

    def _shut_in(self, unit: str, what: str) -> list[str]:
        (command,) = self.values(unit, what)
        (user,) = self.values(unit, "User")
        (folder,) = self.values(unit, "WorkingDirectory")
        inside = [
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
            *("env", "--ignore-environment", f"--chdir={folder}", f"PATH={PATH}"),
            *self.values(unit, "Environment"),
            *command.split(),
        ]
        # ProtectSystem=strict, StateDirectory=, PrivateTmp=, ProtectProc= and ProcSubset=
        root = self.path
        view = f"""
            mount --bind {root} {root} && cd {root}
            mount --bind {root}/var/lib/insta-messaging {root}/var/lib/insta-messaging
            mount -o remount,bind,ro {root}
            mount -t tmpfs tmpfs {root}/tmp
            mount -t tmpfs tmpfs {root}/dev && mknod -m 666 {root}/dev/null c 1 3
            mknod -m 666 {root}/dev/urandom c 1 9
            mount -t proc -o subset=pid,hidepid=invisible proc {root}/proc
            exec chroot {root} "$@"
        """  # noqa: S108  (its own, empty)
        return ["unshare", "--mount", "sh", "-ec", view, "sh", *inside]

    def _borrow_the_registries(self) -> None:
        """This machine's way to Debian's and Python's packages, for this trial only."""
        for source in SOURCES:
            shutil.copy(source, self.path / source.relative_to("/"))
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", self.path / "etc" / name)
        taken = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
        self.pip = {name: os.environ[name] for name in taken if name in os.environ}
        if "PIP_CERT" in os.environ:
            shutil.copy(os.environ["PIP_CERT"], self.path / "root" / "registries.pem")
            self.pip["PIP_CERT"] = "/root/registries.pem"


def system(*command: object) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def mirror() -> str:
    """Where this machine has its own Debian packages from."""
    for source in SOURCES:
        found = re.search(r"(?:^URIs:|^deb(?: \[.*\])?) *(http\S+)", source.read_text(), re.M)
        if found:
            return found[1]
    return "http://deb.debian.org/debian"
