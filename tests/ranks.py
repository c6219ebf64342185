"""Runs a script on every rank of a world of this machine; it is imported once, and forked.

As a script: `ranks.py SIZE SCRIPT ARGUMENT...`; the script's `main` is called on each rank.
"""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

from torch._C._distributed_c10d import TCPStore

ROOT = Path(__file__).parents[1]


def run_ranks(size: int, script: Path, *arguments: str | Path) -> list[int]:
    """Run a script's `main` on every rank, and wait for all.

    Args:
        size: how many ranks.
        script: leaves `torch.distributed` to be initialized to its `main`, which reads `sys.argv`.
        *arguments: of the script.

    Returns:
        The exit status of each rank.
    """
    command = [sys.executable, __file__, str(size), str(script), *map(str, arguments)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},  # no thread is forked
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(status) for status in done.stdout.splitlines()[-1].split()]


def fork(size: int, script: str) -> None:
    """Run the script's `main` on each rank, and print their exit statuses."""
    spec = importlib.util.spec_from_file_location(Path(script).stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    world |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    ranks = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            os.environ.update(world, RANK=str(rank), LOCAL_RANK=str(rank))
            module.main()
            return
        ranks.append(pid)
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in ranks]
    print(*statuses, flush=True)
    del store  # which any rank may outlive


if __name__ == "__main__":
    sys.argv.pop(0)
    fork(int(sys.argv.pop(0)), sys.argv[0])
