"""Starting a program in several ranks, as the document of the packages does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1"
)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all different."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def tf_config(addresses: list[str], rank: int) -> str:
    """Return what tells a process of TensorFlow which rank it is, and who the others are."""
    task = {"type": "worker", "index": rank}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


def start(
    package: str, size: int, module: str, *arguments: object, folder: Path
) -> list[subprocess.Popen]:
    """Start a module in so many ranks; what they say is in the file `said` of the folder."""
    command = [sys.executable, "-m"]
    environments: list[dict[str, str]] = [{}]
    if size > 1 and package == "torch_port":
        command += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
        command += ["-m", "--"]
    elif size > 1:
        addresses = [f"127.0.0.1:{port}" for port in free_ports(size)]
        environments = [{"TF_CONFIG": tf_config(addresses, rank)} for rank in range(size)]
    with open(folder / "said", "wb") as said:
        return [
            subprocess.Popen(
                [*command, module, *map(str, arguments)],
                cwd=folder,
                env=os.environ | ONE_THREAD | environment,
                stdout=said,
                stderr=said,
            )
            for environment in environments
        ]


def end(processes: list[subprocess.Popen], timeout: float) -> list[int]:
    """Wait for processes to end, and return their statuses; kill what has not ended in time."""
    try:
        return [process.wait(timeout) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()


def rank_processes(package: str, processes: list[subprocess.Popen]) -> list[psutil.Process]:
    """Return the processes of the ranks, in their order."""
    if package == "tf_reference":
        return [psutil.Process(process.pid) for process in processes]
    workers = psutil.Process(processes[0].pid).children()
    return sorted(workers, key=lambda worker: int(worker.environ()["RANK"]))
