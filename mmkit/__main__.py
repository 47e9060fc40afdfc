"""`python -m mmkit`: the command line, as the `mmkit` script starts it (and `torchrun -m mmkit`)."""

from mmkit.cli import main

main(prog_name="mmkit")
