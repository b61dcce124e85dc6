"""What may be wrong with this computer: each module looks at one thing, and judges what it saw.

In each of them, what reads the computer returns plain values, and what judges those is pure.
"""
