"""The command line of the proof, `naive-parity`: check a port, and repeat what was measured."""

import sys

import tyro

PROGRAM = "naive-parity"


def main() -> None:
    """Run the command line; whatever the user can mend is one sentence and exit status 2."""
    try:
        status = run()
    except (ImportError, OSError, ValueError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130  # as a shell says of what Ctrl-C ended
    sys.exit(status)


def run() -> int:
    """Run a subcommand; return 0, or 1 where what was judged is not the same."""
    # Imported here, so that a framework that is missing is a sentence as well.
    from parity_tests import check, conversion, fetch_mnist
    from parity_tests.ladder.compare import Divergence
    from parity_tests.measurements import benchmark, book_numbers, experiments
    from parity_tests.ports import recording
    from parity_tests.ports.messages import PortError
    from parity_tests.traps import sensitivity

    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "check": check.check,
                "record": recording.record,
                "convert": conversion.convert,
                "fetch-mnist": fetch_mnist.fetch,
                "traps": sensitivity.traps,
                "learning-rates": experiments.learning_rates,
                "rmsprop": experiments.rmsprop,
                "book-numbers": book_numbers.book_numbers,
                "bench": benchmark.bench,
            },
            prog=PROGRAM,
            config=(tyro.conf.DisallowNone,),
        )
    except (Divergence, check.Failed) as verdict:
        print(f"{PROGRAM}: {verdict}", file=sys.stderr)
        return 1
    except PortError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    main()
