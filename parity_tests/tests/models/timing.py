"""How long the check of a model takes, and how much memory, by the size of the model."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

WIDTHS = {"1e5": 33, "1e6": 105, "1e7": 333}
"""By the number of parameters, the channels of the first convolution."""

MODEL = Template("""import keras
from keras import layers

def convolution(channels, strides):
    return [
        layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
    ]

model = keras.Sequential([
    keras.Input((16, 16, 3)),
    *convolution($width, 1), *convolution(2 * $width, 2), *convolution(4 * $width, 2),
    layers.GlobalAveragePooling2D(),
    layers.Dense(10),
])
model.compile(
    keras.optimizers.SGD(0.01, momentum=0.9),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
""")
PORT = Template("""import torch
from torch import nn

def convolution(before, channels, strides):
    padding = nn.ZeroPad2d((0, 1, 0, 1)) if strides == 2 else nn.ZeroPad2d(1)
    conv = nn.Conv2d(before, channels, 3, strides, bias=False)
    return [padding, conv, nn.BatchNorm2d(channels$constants), nn.ReLU()]

model = nn.Sequential(
    *convolution(3, $width, 1), *convolution($width, 2 * $width, 2),
    *convolution(2 * $width, 4 * $width, 2),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * $width, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
""")
RIGHT, WRONG = ", eps=1e-3, momentum=0.01", ", momentum=0.01"


def model_times() -> None:
    """Time the check of models of 1e5 to 1e7 parameters, and write times.json."""
    rows = []
    for size, width in WIDTHS.items():
        for constants in (RIGHT, WRONG):
            with tempfile.TemporaryDirectory() as folder:
                original, port = Path(folder, "original.py"), Path(folder, "port.py")
                original.write_text(MODEL.substitute(width=width))
                port.write_text(PORT.substitute(width=width, constants=constants))
                found = measured([port, "--reference", original])
            rows.append({"parameters": size, "right": constants == RIGHT, **found})
            print(rows[-1], flush=True)
            if found["status"] != (constants != RIGHT):
                raise ChildProcessError(f"the check ended with status {found['status']}")
    Path(__file__).with_name("times.json").write_text(json.dumps(rows, indent=1) + "\n")


def measured(arguments: Sequence[str | Path]) -> dict[str, Any]:
    """Return the exit status of a check, its seconds and the megabytes of all its processes."""
    import psutil  # which no other command needs

    start, most = time.perf_counter(), 0
    command = [sys.executable, "-m", "parity_tests", "check", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root = psutil.Process(process.pid)
    try:
        while process.poll() is None:
            held = 0
            for part in (root, *root.children(recursive=True)):
                try:
                    held += part.memory_full_info().pss  # what is shared is counted once
                except psutil.Error:  # it has just ended
                    continue
            most = max(most, held)
            time.sleep(0.2)
    finally:
        process.terminate()
    seconds = time.perf_counter() - start
    return {"status": process.returncode, "seconds": round(seconds, 1), "megabytes": most >> 20}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the times as a Markdown table."""
    lines = ["| parameters | port | seconds | megabytes |", "|---|---|---|---|"]
    for row in rows:
        port = "right" if row["right"] else "wrong, explained"
        cells = f"{row['parameters']} | {port} | {row['seconds']:.0f} | {row['megabytes']:,}"
        lines.append(f"| {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    model_times()
