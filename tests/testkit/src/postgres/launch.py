"""Makes a database cluster in a directory and becomes the server that serves it.

Arguments: the installation, the directory, the port, and whether the server syncs to disk: `on` or `off`. The superuser's password lies in the file
`password` of the directory and is removed.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys

NOBODY = 65534
PR_SET_PDEATHSIG = 1  # prctl(2)
CLONE_NEWUSER = 0x10000000  # unshare(2)


def become_nobody(directory):
    for folder, _, files in os.walk(directory):
        for path in [folder, *(os.path.join(folder, file) for file in files)]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def has_nobody():
    """Whether this user namespace has a user `nobody`. One in which a test mounts file systems has `root` alone."""
    with open("/proc/self/uid_map") as ranges:
        numbers = [[int(number) for number in line.split()] for line in ranges]
    return any(first <= NOBODY < first + count for first, _, count in numbers)


def rename_root():
    """Gives this process another name for its user, in a further user namespace."""
    parents = {"uid_map": os.geteuid(), "gid_map": os.getegid()}
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a user namespace")
    with open("/proc/self/setgroups", "w") as setgroups:
        setgroups.write("deny")
    for file, parent in parents.items():
        with open(os.path.join("/proc/self", file), "w") as mapping:
            mapping.write(f"{NOBODY} {parent} 1")


def copied(installation, directory):
    """Copies what the server needs; its libraries lie beside the package that it comes in."""
    package = os.path.dirname(os.path.realpath(installation))
    copy = os.path.join(directory, "copy", os.path.basename(package))
    if not os.path.exists(copy):
        if os.path.isdir(package + ".libs"):
            shutil.copytree(package + ".libs", copy + ".libs")
        unneeded = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(installation, os.path.join(copy, "pginstall"), ignore=unneeded)
    return os.path.join(copy, "pginstall")


def can_run(program):
    """Whether nobody can reach a program and its libraries."""
    as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        asked = subprocess.run([program, "--version"], stdout=sys.stderr, **as_nobody)
        return asked.returncode == 0
    except OSError:
        return False


def end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


installation, directory, port, fsync = sys.argv[1:]
os.chdir(directory)
# PostgreSQL refuses to run as root.
if os.geteuid() == 0 and not has_nobody():
    rename_root()
elif os.geteuid() == 0:
    if not can_run(os.path.join(installation, "bin", "initdb")):
        installation = copied(installation, directory)
    become_nobody(directory)
data = os.path.join(directory, "data")
initdb = [
    os.path.join(installation, "bin", "initdb"),
    "--username=postgres",
    "--pwfile=password",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
    f"--pgdata={data}",
]
if not os.path.exists(data):
    subprocess.run(initdb, stdout=sys.stderr, check=True, preexec_fn=end_with_parent)
    os.remove("password")
settings = {
    "listen_addresses": "127.0.0.1",
    "port": port,
    "unix_socket_directories": "",
    "fsync": fsync,
    # Files in the directory, which are gone with it.
    "dynamic_shared_memory_type": "mmap",
}
server = os.path.join(installation, "bin", "postgres")
arguments = [f"--{name}={value}" for name, value in settings.items()]
os.execv(server, [server, "-D", data, *arguments])
