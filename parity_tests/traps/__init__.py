"""Known porting mistakes, a module for each rung, and the matrix of what sees each.

May import ladder and torch_port, in which the mistakes are planted.
"""
