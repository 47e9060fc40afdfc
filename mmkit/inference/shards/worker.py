"""A worker process: it loads the model once, and then does the tasks that it is sent."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from multiprocessing.connection import Connection

import torch
import transformers

from mmkit.errors import MMKitError
from mmkit.inference.devices import pick_device
from mmkit.inference.shards.work import Work


def main() -> None:
    """Serve the process that started this one; its arguments are two descriptors and two numbers.

    A connection for messages, the end of a pipe that closes with the other process, the number of this worker, and
    the number of threads (0: as torch has it).
    """
    messages, alive, number, threads = map(int, sys.argv[1:5])
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    connection = Connection(messages)
    try:
        serve(connection, number, threads)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the other process has ended
        return
    except MMKitError as error:
        connection.send(("error", error))
    except Exception:
        connection.send(("bug", traceback.format_exc()))


def serve(connection: Connection, number: int, threads: int) -> None:
    """Load the model of the job that comes first, then do tasks until the other process ends this one."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    job = connection.recv()
    work = Work(job, lambda records: connection.send(("records", records)), _device(job.device, number))
    connection.send(("ready", None))
    while True:
        task = connection.recv()
        connection.send(("done", work.do(task)))


def _device(wanted: str, number: int) -> str:
    """The worker's device: of several GPUs, each worker takes the next one."""
    device = pick_device(wanted)
    if device.type == "cuda" and device.index is None and torch.cuda.device_count() > 1:
        return f"cuda:{number % torch.cuda.device_count()}"
    return wanted


def _end_with(alive: int) -> None:
    """End this process at once when the other end of a pipe is closed: when the process that started it ends."""
    os.read(alive, 1)
    os._exit(1)
