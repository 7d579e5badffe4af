"""The check of a Keras model's port: both sides, their mapping, the ladder, and mistakes.

May import check, book, repairs, ladder, program and traps; the two sides run in other processes.
"""
