"""Anybody's port: its program is run as it is and watched, judged by what was seen, and explained.

May import ladder, program, traps (the mistakes that explain) and guest, whose process it starts.
"""
