"""A bare Debian 12 in which a real systemd runs, in namespaces of its own."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from ..scripts.starting import descendants
from ..waiting import A_WHILE, eventually
from .bare_root import PATH, BareRoot

CGROUPS = Path("/sys/fs/cgroup")

BOOT = """
mount --make-rprivate /
mount --bind {root} {root} && cd {root}
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
if [ -d {cgroups}/systemd ]; then
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
mount -t tmpfs tmpfs run && mkdir run/lock
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
for device in null zero full random urandom tty; do
    touch dev/$device && mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts devpts dev/pts && ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
ln -s /proc/self/fd dev/fd
mkdir -p old && pivot_root . old && umount -l /old
exec env -i container=trial PATH={path} /lib/systemd/systemd --show-status=false
"""


class BootedRoot(BareRoot):
    """Skips its tests where a machine does not let systemd run so."""

    def __enter__(self) -> "BootedRoot":
        super().__enter__()
        try:
            packages = ["systemd", "systemd-sysv", "dbus"]
            super().run("apt-get", "-qq", "update")
            install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends"]
            done = super().run(*install, *packages, DEBIAN_FRONTEND="noninteractive")
            assert done.returncode == 0, done.stdout
        finally:
            super().__exit__()
        self._boot()
        return self

    def __exit__(self, *exc: object) -> None:
        self.machine.kill()  # And with it everything in its namespaces.
        self.machine.wait()
        for folder in self.groups:
            eventually(lambda folder=folder: self._is_removed(folder))

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        inside = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "chroot", "/"]
        variables = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"} | self.pip | environment
        as_root = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        whole = ("nsenter", f"--target={self.init}", *inside, *as_root, *command)
        return subprocess.run(
            whole,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )

    def _boot(self) -> None:
        mounted = [CGROUPS / name for name in ("systemd", "unified")]
        is_hybrid = mounted[0].is_dir()
        parents = mounted if is_hybrid else [CGROUPS]
        self.groups = [parent / f"insta-messaging-trial-{os.getpid()}" for parent in parents]
        for folder in self.groups:
            folder.mkdir()
        join = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in self.groups)
        apart = "--pid --mount --uts --ipc --cgroup --fork --kill-child"
        script = BOOT.format(root=self.path, cgroups=CGROUPS, path=PATH)
        whole = ("sh", "-ec", f'{join} exec unshare {apart} sh -ec "$0"', script)
        self.machine = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: self.machine.poll() is not None or self._runs(), A_WHILE)
            assert self.machine.poll() is None
        except AssertionError:
            self.__exit__()
            pytest.skip("systemd cannot be booted in namespaces here")

    def _runs(self) -> bool:
        children = descendants(self.machine.pid)
        if not children:
            return False
        self.init = children[0]
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def _is_removed(self, folder: Path) -> bool:
        for group, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                os.rmdir(group)
        return not folder.exists()
