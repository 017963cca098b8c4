"""``python -m hcs_steps``: the same as ``hcs``."""

from hcs_steps.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
