"""``python -m evalkit`` and the console script ``evalkit``: handles Ctrl-C while modules are still being imported."""

import sys

from evalkit.boundary import signals
from evalkit.boundary.importing import uncollected


def main() -> None:
    """Run the command line (see `evalkit.cli.app.main`)."""
    try:
        with signals.handle_signals():
            from evalkit.cli import direct

            if direct.takes(sys.argv[1:]):
                sys.exit(direct.run(sys.argv[1:]))
            from evalkit.cli import early

            early.start(sys.argv[1:])
            with uncollected():
                from evalkit.cli import app
            app.main()
    except signals.Stopped as stop:
        sys.stderr.write(f"evalkit: stopped by {stop.name}\n")
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main()
