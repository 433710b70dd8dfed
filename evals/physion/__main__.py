"""`python -m evals.physion`"""

from evals.physion.cli import main

if __name__ == "__main__":
    main()
