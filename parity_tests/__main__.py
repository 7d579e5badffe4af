"""The command line of the proof: its experiments, its traps, and the conversion of models."""

import sys

import tyro

from parity_tests.harness import benchmark, check, conversion, experiments, sensitivity
from parity_tests.harness.compare import Divergence
from parity_tests.harness.guest import Unusable


def main() -> None:
    """Runs the command line; whatever the user can mend is one sentence and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "check": check.check,
                "record": check.record,
                "convert": conversion.convert,
                "learning-rates": experiments.learning_rates,
                "rmsprop": experiments.rmsprop,
                "traps": sensitivity.traps,
                "bench": benchmark.bench,
            },
            prog=f"python -m {__package__}",
        )
    except (Divergence, check.Failed) as verdict:
        print(f"{__package__}: {verdict}", file=sys.stderr)
        sys.exit(1)
    except (ImportError, OSError, Unusable, ValueError) as error:
        print(f"{__package__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says of what Ctrl-C ended


if __name__ == "__main__":
    main()
