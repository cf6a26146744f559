"""``python -m evalkit``: the same as the console script ``evalkit``."""

from evalkit.app import main

if __name__ == "__main__":
    main()
