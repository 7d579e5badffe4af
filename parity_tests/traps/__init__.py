"""Known porting mistakes, a module for each rung, and the matrix of what sees each.

May import ladder, program and torch_port, in which the mistakes are planted.
"""
