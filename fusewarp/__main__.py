"""`python -m fusewarp`: the same as the command `fusewarp`."""

from .cli import main

main()
