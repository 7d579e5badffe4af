"""The command line of the proof, `naive-parity`: check a port, and repeat what was measured."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # No file of the current folder, such as a random.py, stands for a module of Python.
    sys.path.append(sys.path.pop(0))

from torch_port import command_line

PROGRAM = "naive-parity"


def main() -> None:
    """Run the command line; whatever the user can mend is one sentence and exit status 2."""
    sys.exit(command_line.guarded(run, PROGRAM))


def run() -> int:
    """Run a subcommand; return 0, or 1 where what was judged is not the same."""
    # Imported here, so that a framework that is missing is a sentence as well.
    from parity_tests import check, conversion, fetch_mnist
    from parity_tests.ladder.compare import Divergence
    from parity_tests.measurements import benchmark, book_numbers, experiments, scaling
    from parity_tests.models import sensitivity as models
    from parity_tests.models import timing
    from parity_tests.ports import recording
    from parity_tests.ports.messages import PortError, ProcessEnded
    from parity_tests.traps import sensitivity

    command = command_line.parse(
        {
            "check": check.check,
            "record": recording.record,
            "convert": conversion.convert,
            "fetch-mnist": fetch_mnist.fetch,
            "traps": sensitivity.traps,
            "zoo": models.zoo,
            "model-times": timing.model_times,
            "learning-rates": experiments.learning_rates,
            "rmsprop": experiments.rmsprop,
            "book-numbers": book_numbers.book_numbers,
            "bench": benchmark.bench,
            "scaling": scaling.scaling,
        },
        PROGRAM,
    )
    try:
        command()
    except (Divergence, check.Failed) as verdict:
        command_line.say(f"{PROGRAM}: {verdict}")
        return 1
    except (PortError, ProcessEnded) as error:
        command_line.say(f"{PROGRAM}: {error}")
        return 2
    return 0


if __name__ == "__main__":
    main()
