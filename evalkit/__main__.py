"""``python -m evalkit`` and the console script ``evalkit``: hears Ctrl-C while the rest is still being imported."""

import sys

from evalkit import stopping


def main() -> None:
    """Run the command line (see `evalkit.app.main`)."""
    try:
        with stopping.heard():
            from evalkit import app

            app.main()
    except stopping.Stopped as stop:
        sys.stderr.write(f"evalkit: stopped by {stop.name}\n")
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main()
