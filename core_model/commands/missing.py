"""Say which extra to install when a command needs a package that is not there."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

_EXTRAS = {
    "cv2": "predict",
    "fastapi": "serve",
    "google": "serve",
    "grpc": "serve",
    "grpc_health": "serve",
    "matplotlib": "report",
    "onnx": "export",
    "onnxruntime": "predict",
    "scipy": "train",
    "sklearn": "train",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "uvicorn": "serve",
}


class ExtrasGroup(TyperGroup):
    """Commands, some of which need more than others."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a missing package ends in one line instead of a traceback."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as e:
            extra = _EXTRAS.get((e.name or "").split(".")[0])
            if extra is None:
                raise
            typer.echo(f"this needs {e.name}: pip install 'omote[{extra}]'", err=True)
            raise typer.Exit(1) from e
