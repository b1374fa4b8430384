"""`python -m herd` is `herd`."""

from herd.cli.entry import herd

if __name__ == "__main__":
    herd()
