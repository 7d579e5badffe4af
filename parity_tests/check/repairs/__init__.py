"""Mending a port where it stands: what its program calls is called otherwise, and judged anew.

`calls` and `changes` are of the process of the program, all others of whoever asks it.
"""
