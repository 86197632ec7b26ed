"""`python -m offleash` is the `offleash` program."""

from offleash.cli.main import main

if __name__ == "__main__":
    main()
