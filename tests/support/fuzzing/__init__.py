"""Fuzzing: files that mmkit reads are damaged in many ways, and each has to end well or in one message.

`mutations` damages files, `targets` reads them, `campaign` does so for an hour and keeps what failed. A case is a
target's name and a number, from which everything follows: `python -m fuzzing.campaign --case recipes:17`.
"""
