"""How the commands of the trainer end."""

from __future__ import annotations

import errno

import pytest

from unmingle.training import command
from unmingle.training.errors import TrainingError


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TrainingError("The corpus is empty."), 1, "error: The corpus is empty.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a/model.onnx"), 1, "runs/a/model.onnx: No space left"),
        (OSError("something else"), 1, "error: a file: something else\n"),
        (KeyboardInterrupt(), 130, "stopped; nothing was written\n"),
    ],
)
def test_what_went_wrong_is_said_in_words(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise error

    assert command.run(work, "stopped; nothing was written") == code
    assert said in capsys.readouterr().err


def test_what_we_did_wrong_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        command.run(lambda: 1 // 0)


def test_the_exit_code_is_the_works_own_or_0() -> None:
    assert command.run(lambda: None) == 0
    assert command.run(lambda: 75) == 75
