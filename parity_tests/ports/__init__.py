"""A user's own port: run in a process of its own, judged on the ladder, and diagnosed.

May import ladder, program, traps (the hypotheses of its diagnosis) and tf_reference.
"""
