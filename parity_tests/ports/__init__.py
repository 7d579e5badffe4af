"""A user's own port: run in a process of its own, judged on the ladder, and diagnosed.

May import the ladder and the traps, which are the hypotheses of the diagnosis.
"""
