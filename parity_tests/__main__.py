"""The command line, `naive-parity`: train, check a port, and repeat what was measured."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # No file of the current folder, such as a random.py, stands for a module of Python.
    sys.path.append(sys.path.pop(0))

import gc

from parity_tests.program.messages import UserError, say
from parity_tests.program.process import guarded

PROGRAM = "naive-parity"
COMMANDS = {
    "train": ("program.train:train", "Train the book's network in either framework."),
    "evaluate": ("program.evaluate:evaluate", "Print the accuracy of saved weights."),
    "gradients": ("program.gradients:gradients", "Print the book's gradient examples."),
    "notebook": ("program.notebook:notebook", "Write the book's section as a notebook."),
    "fetch-mnist": ("fetch_mnist:fetch", "Fetch MNIST, and verify it."),
    "check": (
        "check_port:check",
        "Check a port in a file of its own, and say why it differs.",
    ),
    "record": (
        "check.models.reference:record",
        "Record what a Keras model answers, for a check without TensorFlow.",
    ),
    "convert": ("conversion:convert", "Turn a Keras file into a PyTorch state dict, or back."),
    "traps": ("traps.sensitivity:traps", "Plant each known mistake, and show what sees it."),
    "learning-rates": ("measurements.experiments:learning_rates", "Try learning rates."),
    "rmsprop": ("measurements.experiments:rmsprop", "Compare the rules of RMSprop."),
    "book-numbers": ("measurements.book_numbers:book_numbers", "Compare the book's numbers."),
    "bench": ("measurements.benchmark:bench", "Time a step and whole runs against others."),
    "scaling": ("measurements.scaling:scaling", "Time more than one process."),
}
"""By name, where each stands, and what the help says of it."""


def main() -> None:
    """Run the command line; whatever the user can mend is one sentence and exit status 2."""
    sys.exit(guarded(run))


def run() -> int:
    """Run a subcommand; return 0, or 1 where what was judged is not the same."""
    from parity_tests.check.messages import Failed, PortError, ProcessEnded
    from parity_tests.ladder.compare import Divergence

    try:
        # Imported here, so that a library that is missing is a sentence as well.
        from parity_tests.program.command_line import parse

        parse(sys.argv[1:], PROGRAM, COMMANDS)()
    except ImportError as error:
        reason = error.__cause__ or error
        missing = isinstance(reason, ModuleNotFoundError)
        mend = ": run `pip install 'naive-parity[parity]'` for it" if missing else ""
        raise UserError(f"{reason}{mend}") from error
    except (Divergence, Failed) as verdict:
        say(str(verdict))
        return 1
    except (PortError, ProcessEnded) as error:
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    try:
        main()
    finally:
        gc.freeze()  # or Python searches a whole framework for garbage before it ends
