"""Fuzzing: files that mmkit reads are damaged in many ways, and each has to end well or in one message.

`mutations` damages files. `targets` says by name what is read, and how. `campaign` does both for an hour and keeps what
failed. A case is a target's name and a number, from which everything follows:
`python -m fuzzing.campaign --case recipe/:17`.
"""
