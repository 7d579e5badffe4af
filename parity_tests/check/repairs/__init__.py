"""Mending a port where it stands: its calls are changed where it runs, and it is judged anew.

May import check, book, models and ladder, whose rungs judge; what is changed runs in guest.
"""
