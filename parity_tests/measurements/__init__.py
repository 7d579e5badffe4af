"""What was measured, by command: speed, learning rates, optimizers, the book's numbers.

May import the ladder; each result is a file in results/.
"""
