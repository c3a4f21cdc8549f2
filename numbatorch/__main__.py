"""`python -m numbatorch` is the command `numbatorch`."""

import sys

from numbatorch.cli.main import command

if __name__ == "__main__":
    sys.exit(command())
