"""The proof that the port and the reference compute the same.

The folders: `ladder`, the proof itself; `traps`, known mistakes; `ports`, the check of a user's
port; `measurements`; and `tests`.
"""
