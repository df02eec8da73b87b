"""An ONNX graph that is written operation by operation, from the weights of a network that others trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from unmingle.training.errors import TrainingError

Array = NDArray[np.float32]
Axes = Sequence[int | str]
"""Lengths, or the names of those that may differ."""

OPSET, IR_VERSION = 17, 8


class Graph:
    """Nodes and constants as they are added."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        """Args: weights: of the network, by name."""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._given = weights

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation; gives the name of its output."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add numbers; gives their name."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def integers(self, *values: int) -> str:
        """Add whole numbers, as shapes and axes are; gives their name."""
        return self.constant(f"integers_{len(self._constants)}", np.array(values, np.int64))

    def weights(self, module: str, *names: str) -> list[str]:
        """Add weights of a module; gives their names."""
        return [self.constant(f"{module}.{name}", self._given[f"{module}.{name}"]) for name in names]

    def model(self, name: str, given: tuple[str, Axes], result: str, wanted: tuple[str, Axes]) -> onnx.ModelProto:
        """All that was added, as a model that was checked.

        Args:
            given, wanted: name and axes of what goes in and of what comes out.
            result: the output that comes out; no operation may take it.
        """
        last = next(node for node in self._nodes if result in node.output)
        last.output[:] = [wanted[0]]
        ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, list(axes)) for end, axes in (given, wanted)]
        graph = helper.make_graph(self._nodes, name, ends[:1], ends[1:], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def read_weights(path: Path, take: str) -> dict[str, Array]:
    """The tensors of a checkpoint, by name.

    Args: take: which file to take instead, in case that it is none.

    Raises:
        TrainingError: it cannot be read, or holds something else.
    """
    try:
        read = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"The weights {path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # torch raises what it likes where a file is no checkpoint of tensors
        raise TrainingError(
            f"{path} is no checkpoint that holds nothing but tensors. Take {take}, or save the state_dict of the "
            "network as its authors load it."
        ) from error
    tensors = read.get("state_dict", read) if isinstance(read, dict) else {}
    if not isinstance(tensors, dict):
        return {}
    return {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items() if torch.is_tensor(tensor)}
