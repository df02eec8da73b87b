"""What `unmingle separate` can be told; only the standard library is imported, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

MODEL_HELP = "an ONNX file (default: the bundled one)"
REFINER_HELP = "an ONNX file for --quality high, of a refiner for this model (default: none)"

DESCRIPTION = """\
Write DIR/<the recording's name>/stem_1.wav ... (loudest first), background.wav, manifest.json and activity.rttm for
every recording. Recordings are audio or video files of any common format, folders, and - for standard input."""

EXAMPLES = """\
examples:
  unmingle separate meeting.m4a                        as many voices as there are, into stems/meeting/
  unmingle separate interview.wav -n 2 --format mp3    two, as MP3
  unmingle separate recordings/ -o out --jobs 2 --skip-existing
  unmingle separate call.wav --channels separate       a person on each channel
  unmingle separate film.mkv --track 2 --start 60 --end 90 --only 1
  unmingle separate *.wav --name '{stem}/{recording}'  into stems/stem_1/, stems/stem_2/ ...
  ffmpeg -i URL -f wav - | unmingle separate - --labels --plot
  unmingle separate *.wav --json | jq .num_sources

exit codes:
  0 all done   1 some recordings failed   2 nothing could be done   130, 143, 129 stopped by Ctrl-C, TERM, HUP
"""


def add_separate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `separate`."""
    parser.add_argument("files", nargs="+", metavar="RECORDING", help="a file, a folder, or - for standard input")
    _add_how(parser.add_argument_group("how to separate"))
    _add_what(parser.add_argument_group("what to write"))
    _add_work(parser.add_argument_group("how to work"))


def _add_how(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-n",
        "--num-sources",
        type=whole_or_auto(1, 8),
        metavar="N",
        help="sounds to find, 1 to 8, or auto to have them counted (default: auto if the model was taught to, else 2)",
    )
    for bound, default in (("min", 1), ("max", 8)):
        group.add_argument(
            f"--{bound}-sources", type=whole(1, 8), default=default, metavar="N", help=f"bound of auto ({default})"
        )
    group.add_argument(
        "--background",
        choices=("stem", "share", "drop"),
        help="noise, music and hum: a file of their own (stem), left in the stems (share) or left out (drop)",
    )
    group.add_argument("--residual", action="store_true", help=argparse.SUPPRESS)  # the former --background stem
    group.add_argument(
        "--channels",
        type=lambda name: "keep" if name == "together" else name,  # its former name
        choices=("keep", "mono", "reference", "separate"),
        default="keep",
        help="stems get all channels (keep, the default), their mean (mono) or the best one (reference); separate: "
        "each channel on its own, for a person on each or channels that cancel",
    )
    group.add_argument(
        "--spatial",
        choices=("auto", "off"),
        default="auto",
        help="use where sounds come from, where channels differ (default auto)",
    )
    group.add_argument(
        "--enhance", action="store_true", help="with several microphones, clean stems further; they no longer add up"
    )
    group.add_argument(
        "--quality",
        choices=("fast", "high"),
        default="fast",
        help="high has a refiner make the masks better, in more than twice the time (default fast)",
    )
    group.add_argument(
        "--split-channels", dest="channels", action="store_const", const="separate", help="the same as separate"
    )
    group.add_argument("--mono", action="store_true", help="mix all channels down to one first")
    group.add_argument("--track", type=whole(1, 99), metavar="N", help="audio track of a video (default: the first)")
    group.add_argument("--start", type=seconds, default=0.0, metavar="TIME", help="begin there: 90, 1:30 or 0:01:30")
    group.add_argument("--end", type=seconds, metavar="TIME", help="end there")
    group.add_argument("--masks", choices=("soft", "hard"), default="soft", help="soft sounds better (default)")
    group.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, metavar="N", help="same seed, same stems (0)")
    group.add_argument("--model", type=Path, metavar="FILE", help=MODEL_HELP)
    group.add_argument("--refiner", type=Path, metavar="FILE", help=REFINER_HELP)


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-o", "--output", type=Path, default=Path("stems"), metavar="DIR", help="default: stems")
    group.add_argument(
        "--flat", action="store_true", help="no folders: DIR/talk_stem_1.wav, DIR/talk_manifest.json ..."
    )
    group.add_argument(
        "--name",
        metavar="TEMPLATE",
        help="names of the files in DIR, without ending (default {recording}/{stem}; with --flat {recording}_{stem})",
    )
    group.add_argument(
        "--format", choices=("wav", "flac", "ogg", "mp3", "m4a"), default="wav", help="of the stems (default wav)"
    )
    group.add_argument(
        "--subtype",
        choices=("FLOAT", "PCM_16", "PCM_24", "VORBIS", "OPUS", "MP3", "AAC"),
        help="sample type of the stems; PCM saturates beyond full scale (default FLOAT for wav, PCM_24, VORBIS)",
    )
    group.add_argument("--only", type=whole(1, 64), metavar="N", help="stem N, and all else in rest.wav")
    group.add_argument("--gate", action="store_true", help="make stems silent where they are not heard")
    group.add_argument("--normalise", action="store_true", help="bring all stems up or down by the same factor")
    for kind, what in (("labels", "labels for Audacity"), ("srt", "subtitles"), ("csv", "a table")):
        group.add_argument(f"--{kind}", action="store_true", help=f"who is heard when, as {what}")
    group.add_argument("--plot", action="store_true", help="a picture of each recording, its stems and their activity")


def _add_work(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--pattern", metavar="GLOB", help="which files of folders (default: all audio and video)")
    group.add_argument("--skip-existing", action="store_true", help="leave alone what has its stems already")
    group.add_argument("--jobs", type=whole(1, 64), default=1, metavar="N", help="recordings at the same time (1)")
    group.add_argument("--threads", type=whole(1, 1024), metavar="N", help="of the network (default: all cores)")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs")
    group.add_argument("--server", metavar="URL", help="have a service do it; its key is read from UNMINGLE_API_KEY")
    group.add_argument("--json", action="store_true", help="a JSON object for each recording on standard output")
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing but what failed")
    group.add_argument("-v", "--verbose", action="store_true", help="say how long each stage took")


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """An argparse type: a whole number in a range."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {lowest} to {highest}")
        return number

    return convert


def whole_or_auto(lowest: int, highest: int) -> Callable[[str], int | str]:
    """An argparse type: a whole number in a range, or auto."""
    number = whole(lowest, highest)
    return lambda text: text if text == "auto" else number(text)


def seconds(text: str) -> float:
    """An argparse type: 90, 1:30 or 0:01:30."""
    total = 0.0
    try:
        for part in text.split(":"):
            total = 60 * total + float(part)
    except ValueError:
        total = -1.0
    if not 0 <= total < 1e7 or text.count(":") > 2:
        raise argparse.ArgumentTypeError(f"{text} is not a time such as 90, 1:30 or 0:01:30")
    return total
