"""The command line of the proof: its experiments, its traps, and the conversion of models."""

import sys

import tyro

from parity_tests.harness import conversion, experiments, sensitivity


def main() -> None:
    """Runs the command line; whatever the user can mend is one sentence and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "convert": conversion.convert,
                "learning-rates": experiments.learning_rates,
                "rmsprop": experiments.rmsprop,
                "traps": sensitivity.traps,
            },
            prog=f"python -m {__package__}",
        )
    except (AssertionError, ImportError, OSError, ValueError) as error:
        print(f"{__package__}: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, AssertionError) else 2)


if __name__ == "__main__":
    main()
