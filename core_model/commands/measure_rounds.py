"""The process that measures models of rounds for a server, and gives way to all others.

    python -m core_model.commands.measure_rounds

A server starts it, so that it need not know torch and cannot be harmed: the job is one line of JSON
on standard input, which stays open. When it closes the server is gone, and this ends. Killed at any
moment it leaves whole files, or none.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

import cv2
import torch

from core_model.evaluation.figures import Job
from core_model.evaluation.measuring import measure_all
from core_model.training.device import pick_device


def main() -> None:
    """Do the job that stands on standard input."""
    job = Job.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_server, daemon=True).start()
    _give_way(job.public.threads)
    try:
        wrong = measure_all(job, pick_device(job.public.device))
    except (ValueError, OSError) as e:
        wrong = (str(e),)
    if wrong:
        sys.exit("\n".join(wrong))


def _give_way(threads: int) -> None:
    """Let everything else on this machine go first, in time and, if there is too little, memory."""
    os.nice(19)
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_server() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
