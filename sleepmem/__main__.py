"""`python -m sleepmem` is `sleepmem`."""

from __future__ import annotations

from sleepmem.cli import main

if __name__ == "__main__":
    main(prog_name="sleepmem")
