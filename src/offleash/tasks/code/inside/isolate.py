"""New namespaces and a minimal file system for the calling process, by the kernel's own calls. Linux only."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Any

_NEW_MOUNTS, _NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_PIDS, _NEW_NET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
_READ_ONLY, _NO_SUID, _NO_DEVICES, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_SET_PARENT_DEATH, _SET_DUMPABLE, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 4, 24, 38
NOBODY = 65534
WORK = "/tmp"
"""The candidate's folder inside its own file system."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")

_libc: Any = ctypes.CDLL(None, use_errno=True)


class IsolationError(Exception):
    """The kernel, or the container around this process, does not allow a step; the message says which."""


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise IsolationError(f"{name}: {os.strerror(code)}")


def enter(root: str, folders: list[str], hidden: list[str], scratch_bytes: int) -> None:
    """Leave the machine behind: no network, no other processes, no file but `folders` (read-only) and an empty WORK.

    The caller becomes an unprivileged user without capabilities; its next child is process 1 of a new process namespace.

    Args:
        root: an empty folder to mount the new file system on.
        folders: what stays visible, read-only.
        hidden: folders below them that look empty.
        scratch_bytes: size of WORK, in bytes.

    Raises:
        IsolationError: some step is not allowed here.
    """
    try:
        user = _own_users()
        _mount_all(root, folders, hidden, scratch_bytes)
        os.chroot(root)
        os.chdir(WORK)
        if user != os.getuid():
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        drop_privileges()
    except OSError as error:
        raise IsolationError(str(error)) from None


def _own_users() -> int:
    """New namespaces with a user table of their own; returns the user that candidates run as.

    An ordinary user stays itself. Root, whose files everything here would belong to, gets a second user beside it, which
    only a process outside the new namespace may enter into the table.
    """
    everything = _NEW_USER | _NEW_MOUNTS | _NEW_PIDS | _NEW_NET | _NEW_IPC | _NEW_UTS
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        _call("unshare", everything)
        _call("prctl", _SET_DUMPABLE, 1, 0, 0, 0)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
        return user
    ready, go = os.pipe()
    me = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(go)
        try:
            os.read(ready, 1)
            for table in ("uid_map", "gid_map"):
                _write(f"/proc/{me}/{table}", f"0 0 1\n{NOBODY} {NOBODY} 1")
            os._exit(0)
        except OSError:
            os._exit(1)
    try:
        _call("unshare", everything)
    finally:
        os.close(go)
        os.close(ready)
        status = os.waitpid(helper, 0)[1]
    if status != 0:
        raise IsolationError("uid_map: not allowed to write it")
    return NOBODY


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _mount_all(root: str, folders: list[str], hidden: list[str], scratch_bytes: int) -> None:
    _call("mount", b"none", b"/", None, _RECURSIVE | _PRIVATE, None)
    options = f"size={scratch_bytes},nr_inodes=2000,mode=755".encode()
    _call("mount", b"tmpfs", root.encode(), b"tmpfs", _NO_SUID | _NO_DEVICES, options)
    os.makedirs(root + WORK)
    os.chmod(root + WORK, 0o1777)
    for folder in folders:
        if os.path.islink(folder):
            os.makedirs(os.path.dirname(root + folder), exist_ok=True)
            os.symlink(os.readlink(folder), root + folder)
            continue
        os.makedirs(root + folder, exist_ok=True)
        _bind(folder, root + folder)
    for folder in hidden:
        _call("mount", b"tmpfs", (root + folder).encode(), b"tmpfs", _READ_ONLY | _NO_SUID | _NO_DEVICES, b"size=4096")
    os.makedirs(root + "/dev")
    for device in DEVICES:
        os.close(os.open(root + device, os.O_CREAT | os.O_WRONLY, 0o666))
        _call("mount", device.encode(), (root + device).encode(), None, _BIND, None)


def _bind(source: str, target: str) -> None:
    _call("mount", source.encode(), target.encode(), None, _BIND, None)
    _call("mount", None, target.encode(), None, _BIND | _REMOUNT | _READ_ONLY | _NO_SUID | _NO_DEVICES, None)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_privileges() -> None:
    """Give up every capability, also those a program could bring back when started."""
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    capability = 0
    while _libc.prctl(_DROP_BOUND, capability, 0, 0, 0) == 0:
        capability += 1
    # Version 3: three words (effective, permitted, inheritable) for each of the two halves.
    _call("capset", ctypes.byref(_CapabilityHeader(0x20080522, 0)), (ctypes.c_uint32 * 6)())


def protect(parent: int) -> None:
    """Make the calling process untraceable by others of its user, and let it die with its parent.

    Args:
        parent: the parent's id as this process sees it (0 from inside a new process namespace).
    """
    _call("prctl", _SET_PARENT_DEATH, 9, 0, 0, 0)
    _call("prctl", _SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def limit(cpu_seconds: int, memory_bytes: int, processes: int, file_bytes: int, open_files: int) -> None:
    """Resource limits of the calling process and of what it starts: per process, except that `processes` counts them all."""
    for kind, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # A second more of processor time until the signal that cannot be ignored.
        grace = int(kind == resource.RLIMIT_CPU and (hard == resource.RLIM_INFINITY or least < hard))
        resource.setrlimit(kind, (least, least + grace))
