"""`python -m mmkit.cli`: the command line, as the `mmkit` script starts it."""

from mmkit.cli import main

main(prog_name="mmkit")
