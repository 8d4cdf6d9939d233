"""What runs on this machine, as /proc tells it."""

import os
import signal


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def title(pid):
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def stat(pid):
    """(state, parent, start time in ticks), or None where there is no such process."""
    text = _read(pid, "stat").decode(errors="replace")
    if not text:
        return None
    fields = text[text.rindex(")") + 2:].split()
    return fields[0], int(fields[1]), int(fields[19])


def environment(pid):
    pairs = (entry.split(b"=", 1) for entry in _read(pid, "environ").split(b"\0") if b"=" in entry)
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in pairs}


def alive(pid):
    found = stat(pid)
    return found is not None and found[0] not in "ZX"


def cpu_ticks(pid):
    fields = _read(pid, "stat").decode().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def uid(pid):
    for line in _read(pid, "status").decode(errors="replace").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[2])
    return None


def pss_kib(pid):
    for line in _read(pid, "smaps_rollup").decode(errors="replace").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def of_data_folder(data):
    """Every process that belongs to this data folder: by its title, or by what it was given."""
    needle = str(data)
    found = {}
    for pid in pids():
        if pid == os.getpid() or not alive(pid):
            continue
        name = title(pid)
        words = name.split()
        if name.startswith("sluice: ") and words and words[-1] == needle:
            found[pid] = name
        elif environment(pid).get("SLUICE_STATE_DIR", "").startswith(needle + "/"):
            found[pid] = name
    return found


def roles(data):
    """pid lists by role: guardian, controller, gateway, shim."""
    found = {"guardian": [], "controller": [], "gateway": [], "shim": []}
    for pid in pids():
        words = title(pid).split()
        if len(words) >= 3 and words[0] == "sluice:" and words[-1] == str(data) and alive(pid):
            found.setdefault(words[1], []).append(pid)
    # A child that was forked a moment ago is shown as its parent until it has said what it is.
    return {role: [pid for pid in those if (stat(pid) or (0, 0, 0))[1] not in those]
            for role, those in found.items()}


def shims(data):
    """instance (as in the shim's title) -> pid."""
    found = {}
    for pid in roles(data)["shim"]:
        words = title(pid).split()
        if len(words) == 4:
            found[words[2]] = pid
    return found


def instances(data):
    """SLUICE_INSTANCE -> pids of the processes that carry it, of this data folder."""
    found = {}
    for pid in pids():
        env = environment(pid)
        if env.get("SLUICE_STATE_DIR", "").startswith(f"{data}/") and alive(pid):
            if not title(pid).startswith("sluice: "):
                found.setdefault(env.get("SLUICE_INSTANCE", "?"), []).append(pid)
    return found


def zombies_of(parents):
    found = []
    for pid in pids():
        entry = stat(pid)
        if entry and entry[0] == "Z" and entry[1] in parents:
            found.append((pid, _read(pid, "stat").decode(errors="replace")[:60]))
    return found


def kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False
