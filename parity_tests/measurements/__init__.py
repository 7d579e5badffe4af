"""What was measured, by command: speed, learning rates, optimizers, the book's numbers, ranks.

May import ladder, program, tf_reference and torch_port; each result is a file in results/.
"""
