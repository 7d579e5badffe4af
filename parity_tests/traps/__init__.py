"""Known porting mistakes, a module for each rung, and the matrix of what sees each of them.

May import the ladder and the port, in which the mistakes are planted.
"""
