"""python -m dmarcmilter"""

from dmarcmilter.cli import main

main(prog_name="dmarcmilter")
